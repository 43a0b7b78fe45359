"""Networks by name: one file a family, tensor names as in the checkpoints that the field shares."""

from __future__ import annotations

import torch

from dcd_utils import runtime
from dcd_utils.models import resnet, wide_resnet
from dcd_utils.models.network import Features, Network
from dcd_utils.models.weights import load_weights, save_weights

__all__ = ["Features", "Network", "create", "load_weights", "names", "parameter_count", "save_weights"]

_FAMILIES = {name: family for family in (resnet, wide_resnet) for name in family.CONFIGS}


def names() -> list[str]:
    """Every network that `create` knows."""
    return list(_FAMILIES)


def create(name: str, num_classes: int, seed: int | None = None) -> Network:
    """A network with fresh weights.

    Args:
        name: one of `names()`.
        num_classes: number of outputs.
        seed: initial weights that depend on the seed and the name alone; None draws from PyTorch's global generator.

    Raises:
        ValueError: unknown name (the message lists the names), or fewer than 2 classes.
    """
    if name not in _FAMILIES:
        raise ValueError(f'network "{name}" does not exist: choose one of {", ".join(_FAMILIES)}')
    if not isinstance(num_classes, int) or num_classes < 2:
        raise ValueError(f"num_classes={num_classes} was given: pass the number of classes, at least 2")
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(runtime.generator("weights", name, seed).initial_seed())
        network = _FAMILIES[name].build(name, num_classes)
    network.name = name
    return network


def parameter_count(model: torch.nn.Module) -> int:
    """Number of trainable numbers in the model."""
    return sum(parameter.numel() for parameter in model.parameters())
