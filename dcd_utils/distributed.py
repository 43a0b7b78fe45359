"""Several processes that train one network, as torchrun starts them: which images each has, and what passes between.

The batch of a step is the whole one. Each process holds a part of it; losses that compare images ask for the others'
(`gathered`). A process alone never notices: every function then returns what it was given.
"""

from __future__ import annotations

import contextlib
import copy
import datetime
import functools
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

_whole: int | None = None  # images of the batch under way; None: unknown, as many in each process as in this one
_by_itself = False  # within `from_first`
_store: Any = None  # what the processes met by; torchrun keeps it when one of them dies


def world() -> int:
    """Return how many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return which of them this one is, from 0."""
    return dist.get_rank() if world() > 1 else 0


def start(device: Callable[[], torch.device]) -> None:
    """Join the processes that torchrun started, through NCCL on GPUs and Gloo on CPUs. Then only the first one prints.
    `device` returns what this one computes on.

    Raises ValueError for an incomplete environment, or for more processes than GPUs.
    """
    global _store
    if not {"RANK", "WORLD_SIZE"} & set(os.environ) or world() > 1:
        return
    on = device()
    here, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), torch.cuda.device_count()
    if on.type == "cuda" and here > gpus:
        advice = f"pass --nproc-per-node={gpus}, or set DCD_DEVICE=cpu"
        raise ValueError(f"{here} processes were started on a machine of {gpus} GPUs: {advice}")
    try:
        _store, number, size = next(dist.rendezvous("env://"))
    except ValueError as error:
        raise ValueError(f"the processes cannot meet ({error}): start them with torchrun, which sets this") from error
    # torchrun's restarts meet by the same store, where the addresses of those that died lie
    _store = dist.PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", _store)
    # nobody waits in vain for a dead one, as torchrun ends all with it; but one may decode or wait for hours
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if on.type == "cuda" else "gloo", timeout=datetime.timedelta(days=7),
        store=dist.PrefixStore("dcd group", _store), rank=number, world_size=size,
    )
    if on.type == "cuda":
        torch.cuda.set_device(on)
    if number:
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        sys.excepthook = functools.partial(traceback.print_exception, file=sys.__stderr__)


def complaint(error: Exception) -> str:
    """Return what to say of an error that ends this process: nothing, where another process has said why it ends."""
    if world() == 1:
        return "" if int(os.environ.get("RANK", 0)) else str(error)  # before they met, all see the same
    if isinstance(error, dist.DistError) or "/gloo/transport/" in str(error):
        error = "another process ended, perhaps killed for want of memory; finished epochs are kept, the same command "
        error += "goes on (torchrun --max-restarts does by itself)"
    with contextlib.suppress(Exception):  # the store went, too
        return str(error) if _store.add("dcd complaints", 1) == 1 else ""
    return str(error)


def from_first(call: Callable[[], Any]) -> Any:
    """Return what `call` returns in the first process, or raise what it raises there; the others do not call it. What
    `call` does within is that process's own affair: it cannot wait for others there."""
    global _by_itself
    if world() == 1 or _by_itself:
        return call()
    answer: list = [None, None]
    if rank() == 0:
        _by_itself = True
        try:
            answer[0] = call()
        except Exception as error:
            answer[1] = error
        _by_itself = False
    dist.broadcast_object_list(answer)
    if answer[1] is not None:
        raise answer[1]
    return answer[0]


def first_here_first(call: Callable[[], Any]) -> Any:
    """Return `call()`, which the first process of each machine calls before the others: what it downloads or decodes
    is there for them."""
    waits = world() > 1 and int(os.environ.get("LOCAL_RANK", 0)) > 0
    if waits:
        dist.barrier()
    result = call()
    if world() > 1 and not waits:
        dist.barrier()
    return result


def shares(images: int) -> list[slice]:
    """Return which of so many images each process has: one after another, as equally as can be. Where one would have
    fewer than two, each has all of them."""
    if images < 2 * world():
        return [slice(0, images)] * world()
    ends = [images * number // world() for number in range(world() + 1)]
    return [slice(*pair) for pair in zip(ends[:-1], ends[1:], strict=True)]


def own(images: int) -> slice:
    """Return which of them this process has."""
    return shares(images)[rank()]


def begin_batch(images: int | None, held: int = 0) -> float:
    """Say how many images the batch that comes has in all (None: unknown); return the share of those `held` here."""
    global _whole
    _whole = images
    return 1 / world() if held == images else held / (images or 1)


def first_row(rows: Tensor) -> int:
    """Return where this process's rows begin among `gathered` ones."""
    return 0 if _is_whole(rows) else (rank() * len(rows) if _whole is None else own(_whole).start)


def gathered(rows: Tensor) -> Tensor:
    """Return the rows of all processes, [B, ...] from [own, ...], in the order of the batch; gradients flow back to
    each. Every process must call it. Outside of training all have equally many."""
    return rows if _is_whole(rows) else _Gather.apply(rows)


def total(rows: Tensor) -> Tensor:
    """Return the sum over the rows of all processes, a scalar."""
    return rows.sum() if _is_whole(rows) else gathered(rows.flatten(1).sum(dim=1)).sum()


def _is_whole(rows: Tensor) -> bool:
    return world() == 1 or _whole == len(rows)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:
        sizes = [len(rows)] * world() if _whole is None else [part.stop - part.start for part in shares(_whole)]
        ctx.start, ctx.count = sum(sizes[: rank()]), len(rows)
        own = torch.cat([rows, rows.new_zeros(max(sizes) - len(rows), *rows.shape[1:])]).contiguous()
        parts = [torch.empty_like(own) for _ in sizes]
        dist.all_gather(parts, own)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient[ctx.start : ctx.start + ctx.count]


def summed(values: Tensor) -> Tensor:
    """Return the sum of a tensor over the processes; no gradient flows."""
    if world() > 1:
        dist.all_reduce(values)
    return values


def wrapped(step: nn.Module) -> nn.Module:
    """Return a module as PyTorch trains it in several processes: the gradient is the mean of theirs."""
    if world() == 1:
        return step
    where = [device] if (device := next(step.parameters()).device).type == "cuda" else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of a new name for broadcast_buffers, which PyTorch 2.6 lacks
        # batch norm's statistics are the first process's, once an epoch; each step reaches the same weights (static)
        return nn.parallel.DistributedDataParallel(step, where, broadcast_buffers=False, static_graph=True)


def align(*modules: nn.Module) -> None:
    """Give every process the first one's weights and buffers."""
    for module in modules if world() > 1 else ():
        for tensor in (*module.parameters(), *module.buffers()):
            dist.broadcast(tensor.detach(), 0)


def with_synchronised_norms(module: nn.Module) -> nn.Module:
    """Return a twin that shares all weights and buffers, with batch norm over the images of all processes."""
    tensors = [*module.parameters(), *module.buffers()]
    return nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(module, {id(tensor): tensor for tensor in tensors}))
