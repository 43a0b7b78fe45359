"""What every network of the course answers to: one pass gives maps, pooled features and logits."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

SMALLEST_INPUT = 16


class Features(NamedTuple):
    """What one forward pass computed.

    Attributes:
        maps: activations after the stem and after each stage, each [B, channels, height, width].
        pooled: penultimate features [B, width], the input of the classifier.
        logits: [B, num_classes].
    """

    maps: list[Tensor]
    pooled: Tensor
    logits: Tensor


class Network(nn.Module):
    """A network for small images: subclasses write `features`; calling one returns the logits [B, num_classes]."""

    def features(self, images: Tensor) -> Features:
        """What one pass over images [B, 3, H, W] computes. Raises ValueError below 16 pixels or for another shape."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images).logits


def check_images(images: Tensor) -> None:
    """Raise ValueError unless images are [B, 3, H, W] with both sides of at least 16 pixels."""
    if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < SMALLEST_INPUT:
        raise ValueError(
            f"images are {tuple(images.shape)}: expected [B, 3, H, W] with H and W of at least {SMALLEST_INPUT} pixels"
        )
