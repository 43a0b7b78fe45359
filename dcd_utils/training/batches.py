"""Which images, in which views, at which step: a function of seed and epoch alone, so every method sees the same."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dcd_utils import runtime
from dcd_utils.data import views


def batches(
    size: int, batch_size: int, seed: int, epoch: int, device: torch.device | str = "cpu"
) -> Iterator[tuple[Tensor, Tensor]]:
    """(indices, views) of each step of an epoch: both int64 [B], every image once, each in a random view.

    The last batch holds what is left; a rest of one image is left out, since one image has nothing to be
    contrasted with.
    """
    order, drawn = (whole.to(device) for whole in draw(size, seed, epoch))
    for indices, picked in zip(order.split(batch_size), drawn.split(batch_size), strict=True):
        if len(indices) > 1:
            yield indices, picked


def draw(size: int, seed: int | str, epoch: int) -> tuple[Tensor, Tensor]:
    """The order of the images in an epoch, and the view of each: both int64 [size], on the CPU."""
    order = torch.randperm(size, generator=runtime.generator("order", seed, epoch))
    return order, torch.randint(views.NUM_VIEWS, (size,), generator=runtime.generator("views", seed, epoch))


def steps_per_epoch(size: int, batch_size: int) -> int:
    """The number of batches that `batches` yields."""
    return size // batch_size + (size % batch_size > 1)
