"""What every network of the course answers to: one pass gives maps, pooled features and logits."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
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

    name: str
    options: dict

    def features(self, images: Tensor, preactivation: bool = False) -> Features:
        """What one pass computes.

        Args:
            images: [B, 3, H, W].
            preactivation: the maps of the stages, from index 1 on, are what the stage's last ReLU reads: signed values,
                as AB distillation compares them (Heo et al., arXiv:1811.03233). A wide ResNet's map then is the next
                batch norm's output. The stem's map, the pooled features and the logits stay the same.

        Raises:
            ValueError: a side below 16 pixels, another shape, or preactivation asked of a library's network.
        """
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images).logits


def check_images(images: Tensor) -> None:
    """Raise ValueError unless images are [B, 3, H, W] with both sides of at least 16 pixels."""
    if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < SMALLEST_INPUT:
        raise ValueError(
            f"images are {tuple(images.shape)}: expected [B, 3, H, W] with H and W of at least {SMALLEST_INPUT} pixels"
        )


def conv_bn(channels_in: int, channels: int, size: int, stride: int = 1, groups: int = 1):
    """A convolution without bias that keeps the resolution (divided by the stride), and its batch norm: two modules."""
    convolution = nn.Conv2d(channels_in, channels, size, stride, padding=size // 2, groups=groups, bias=False)
    return convolution, nn.BatchNorm2d(channels)


def init_convolutions(network: nn.Module) -> None:
    """Draw the convolutions' weights as He et al. do (arXiv:1502.01852, fan-out), and set their biases to zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def make_stage(block: Callable[..., nn.Module], blocks: int, channels_in: int, channels: int, stride: int):
    """Blocks in a row, an nn.Sequential: the first has the stride and brings `channels_in` to `channels`."""
    rest = [block(channels, channels, 1) for _ in range(blocks - 1)]
    return nn.Sequential(block(channels_in, channels, stride), *rest)


def run_stages(stages: Iterable[nn.Sequential], x: Tensor, preactivation: bool) -> tuple[Tensor, list[Tensor]]:
    """The last stage's output, and the maps: the stem's output x, then each stage's output or what its last ReLU reads.

    The last block of a stage offers `before_relu(x)`, what its forward pass computes without the ReLU at its end.
    """
    maps = [x]
    for stage in stages:
        if preactivation:
            maps.append(stage[-1].before_relu(stage[:-1](x)))
            x = torch.relu(maps[-1])
        else:
            x = stage(x)
            maps.append(x)
    return x, maps
