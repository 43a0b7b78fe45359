"""ShuffleNets (V1: Zhang et al., arXiv:1707.01083; V2: Ma et al., arXiv:1807.11164), with the shared tensor names."""

import torch
from torch import Tensor, nn

from dcd_utils.models.network import Block, StagedNetwork, conv_bn, make_stage

STEM, GROUPS = 24, 3  # channels of the stem, groups of ShuffleV1's 1x1 convolutions


def interleave(*parts: Tensor) -> Tensor:
    """Channels taken in turn from tensors of equal shape: what a shuffle of their groups gives."""
    if parts[-1].stride(1) == 1:  # channels last in memory, and they stay so
        together = torch.stack([part.permute(0, 2, 3, 1) for part in parts], dim=4)
        return together.flatten(3).permute(0, 3, 1, 2)
    return torch.stack(parts, dim=2).flatten(1, 2)


class ShuffleBlock(Block):
    """Grouped 1x1, channel-wise 3x3 and grouped 1x1 convolutions; the shortcut is added, or, where the stride is 2,
    pooled and joined: it is the last of `channels` then."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        computed = channels - channels_in if stride == 2 else channels
        inner = computed // 4
        self.groups = 1 if channels_in == STEM else GROUPS  # too few channels behind the stem to be grouped
        self.conv1, self.bn1 = conv_bn(channels_in, inner, 1, groups=self.groups)
        self.conv2, self.bn2 = conv_bn(inner, inner, 3, stride, groups=inner)
        self.conv3, self.bn3 = conv_bn(inner, computed, 1, groups=GROUPS)
        self.pool = nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else None

    def before_relu(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x)).relu_()
        if self.groups > 1:
            y = interleave(*y.chunk(self.groups, dim=1))
        y = self.bn3(self.conv3(self.bn2(self.conv2(y)).relu_()))
        return y + x if self.pool is None else torch.cat([y, self.pool(x)], dim=1)


class ShuffleV1(StagedNetwork):
    """A 1x1 stem, three stages that each halve the resolution, and a linear classifier."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(3, STEM, 1)
        self.layer1 = make_stage(ShuffleBlock, 4, STEM, 240, stride=2)
        self.layer2 = make_stage(ShuffleBlock, 8, 240, 480, stride=2)
        self.layer3 = make_stage(ShuffleBlock, 4, 480, 960, stride=2)
        self.linear = nn.Linear(960, num_classes)


class SplitBlock(nn.Module):
    """One half of the channels passes by; the other goes through 1x1, channel-wise 3x3 and 1x1 convolutions."""

    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.conv1, self.bn1 = conv_bn(half, half, 1)
        self.conv2, self.bn2 = conv_bn(half, half, 3, groups=half)
        self.conv3, self.bn3 = conv_bn(half, half, 1)

    def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The half that passes by, and the other before its last ReLU."""
        kept, x = x.chunk(2, dim=1)
        x = self.bn1(self.conv1(x)).relu_()
        return kept, self.bn3(self.conv3(self.bn2(self.conv2(x))))

    def forward(self, x: Tensor) -> Tensor:
        kept, x = self.halves(x)
        return interleave(kept, x.relu_())

    def before_and_after(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, x = self.halves(x)
        return torch.cat([kept, x], dim=1), interleave(kept, x.relu())  # published networks take it before the shuffle


class DownBlock(nn.Module):
    """Two branches at half resolution, each giving half of the channels."""

    def __init__(self, channels_in: int, channels: int):
        super().__init__()
        half = channels // 2
        self.conv1, self.bn1 = conv_bn(channels_in, channels_in, 3, 2, groups=channels_in)
        self.conv2, self.bn2 = conv_bn(channels_in, half, 1)
        self.conv3, self.bn3 = conv_bn(channels_in, half, 1)
        self.conv4, self.bn4 = conv_bn(half, half, 3, 2, groups=half)
        self.conv5, self.bn5 = conv_bn(half, half, 1)

    def forward(self, x: Tensor) -> Tensor:
        left = self.bn2(self.conv2(self.bn1(self.conv1(x)))).relu_()
        right = self.bn3(self.conv3(x)).relu_()
        right = self.bn5(self.conv5(self.bn4(self.conv4(right)))).relu_()
        return interleave(left, right)


class ShuffleV2(StagedNetwork):
    """A 1x1 stem, three stages that each halve the resolution, a 1x1 convolution, and a linear classifier."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(3, STEM, 1)
        for index, (blocks, channels_in, channels) in enumerate(((4, STEM, 116), (8, 116, 232), (4, 232, 464)), 1):
            stage = DownBlock(channels_in, channels), *[SplitBlock(channels) for _ in range(blocks - 1)]
            self.add_module(f"layer{index}", nn.Sequential(*stage))
        self.conv2, self.bn2 = conv_bn(464, 1024, 1)
        self.linear = nn.Linear(1024, num_classes)

    def _head(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv2(x)).relu_()


NETWORKS = {"ShuffleV1": ShuffleV1, "ShuffleV2": ShuffleV2}
