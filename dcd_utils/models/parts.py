"""A batch that passes through a network in parts, for a device that cannot hold the whole of it."""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from dcd_utils.models.network import Features


def in_parts(call: Callable, at_once: int | None, *tensors: Tensor) -> Features | None:
    """Return `call(*tensors)`, the features of a batch, computed for at most so many images at once; None: all."""
    if at_once is None or len(tensors[0]) <= at_once:
        return call(*tensors)
    parts = [call(*part) for part in zip(*(tensor.split(at_once) for tensor in tensors), strict=True)]
    if parts[0] is None:  # no teacher
        return None
    maps, pooled, logits = zip(*parts, strict=True)
    return Features([torch.cat(stage) for stage in zip(*maps, strict=True)], torch.cat(pooled), torch.cat(logits))


def recomputed(network: nn.Module) -> Callable[[Tensor], Features]:
    """Return the network's `features`, of which only the result is kept for the backward pass: the rest is computed
    anew there, so that `in_parts` needs the memory of one part. The gradient is that of the whole batch, as the loss
    sees all of it (the way of GradCache, arXiv:2101.06983); batch norm has the statistics of a part."""

    @contextlib.contextmanager
    def again() -> Iterator[None]:
        norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
        counted = [norm._buffers for norm in norms]
        for norm in norms:  # statistics of images that were counted before
            norm._buffers = {name: None if buffer is None else buffer.clone() for name, buffer in norm._buffers.items()}
        try:
            yield
        finally:
            for norm, buffers in zip(norms, counted, strict=True):
                norm._buffers = buffers

    contexts = lambda: (contextlib.nullcontext(), again())  # noqa: E731
    return lambda images: checkpoint(network.features, images, use_reentrant=False, context_fn=contexts)
