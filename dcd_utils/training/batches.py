"""Which images, in which views, at which step: a function of seed and epoch alone, so every method sees the same."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dcd_utils import runtime
from dcd_utils.data import views


def draw(size: int, seed: int | str, epoch: int) -> tuple[Tensor, Tensor]:
    """Return the order of the images in an epoch, and the view of each: both int64 [size], on the CPU."""
    order = torch.randperm(size, generator=runtime.generator("order", seed, epoch))
    return order, torch.randint(views.NUM_VIEWS, (size,), generator=runtime.generator("views", seed, epoch))


def split(
    order: Tensor, drawn_views: Tensor, batch_size: int, device: torch.device | str = "cpu"
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield what `draw` returned batch by batch: (indices, views), both int64 [B], on the device.

    The last batch holds what is left; a rest of one image is left out: one image has nothing to be contrasted with.
    """
    pairs = zip(order.to(device).split(batch_size), drawn_views.to(device).split(batch_size), strict=True)
    return (pair for pair in pairs if len(pair[0]) > 1)


def batches(
    size: int, batch_size: int, seed: int | str, epoch: int, device: torch.device | str = "cpu"
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (indices, views) of each step of an epoch: both int64 [B], every image once, in a random view."""
    return split(*draw(size, seed, epoch), batch_size, device)


def steps_per_epoch(size: int, batch_size: int) -> int:
    """Return the number of batches that `batches` yields."""
    return size // batch_size + (size % batch_size > 1)
