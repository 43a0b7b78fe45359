"""Augmentation as a number: pad-and-crop with a flip has 162 outcomes, so a view is an integer from 0 to 161.

view = (top * 9 + left) * 2 + flip: the image is zero-padded by 4, cropped at (top, left) with 0 <= top, left <= 8, then
mirrored if flip is 1. View 80 is the image itself. A batch is fully described by (indices, views).
"""

import torch
from torch import Tensor

PAD = 4
OFFSETS = 2 * PAD + 1
NUM_VIEWS = OFFSETS * OFFSETS * 2


def view_number(top: int, left: int, flip: bool | int) -> int:
    """The number of the view that crops the padded image at (top, left) and mirrors it if flip is true."""
    if not (0 <= top < OFFSETS and 0 <= left < OFFSETS and flip in (0, 1)):
        raise ValueError(f"top={top}, left={left}, flip={flip}: offsets run from 0 to {OFFSETS - 1}, flip is 0 or 1")
    return (top * OFFSETS + left) * 2 + int(flip)


IDENTITY = view_number(PAD, PAD, False)


def offsets(views: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(top, left, flip), each an int64 tensor of the shape of `views`."""
    return views // (2 * OFFSETS), views // 2 % OFFSETS, views % 2


def augment(images: Tensor, views: Tensor) -> Tensor:
    """Every image in its view, the whole batch at once: zero-pad by 4, crop at (top, left), mirror.

    images: [B, C, H, W], any type, as the result; padding is zero, so augment before normalisation. views: int64 [B],
    each from 0 to 161. Raises ValueError if the batch sizes differ.
    """
    if views.shape != images.shape[:1]:
        raise ValueError(f"{len(images)} images and views of shape {tuple(views.shape)}: pass one view per image")
    batch, channels, height, width = images.shape
    padded = torch.nn.functional.pad(images, (PAD, PAD, PAD, PAD))
    top, left, flip = offsets(views.to(images.device))
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device)
    columns = left[:, None] + torch.where(flip[:, None] == 1, width - 1 - columns, columns)
    picked = torch.arange(batch, device=images.device)[:, None, None]
    # advanced indices around a slice put the channels last, which is the memory layout that the networks like best
    return padded[picked, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
