"""ShuffleNet (Zhang et al., arXiv:1707.01083) for small images, with the tensor names of the shared checkpoints."""

import torch
from torch import Tensor, nn

from dcd_utils.models.network import Features, Network, check_images, conv_bn, make_stage, run_stages

STEM, GROUPS = 24, 3  # channels of the stem, groups of the 1x1 convolutions


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Channel i of group g moves to place i * groups + g: the next grouped convolution reads from every group."""
    if x.is_contiguous(memory_format=torch.channels_last):  # stays in that layout
        return x.permute(0, 2, 3, 1).unflatten(3, (groups, -1)).transpose(3, 4).flatten(3).permute(0, 3, 1, 2)
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


class ShuffleBlock(nn.Module):
    """Grouped 1x1, channel-wise 3x3 and grouped 1x1 convolutions; the shortcut is added, or joined where stride is 2.

    Args:
        channels_in: channels of the input.
        channels: channels of the output; with stride 2 the input's own, pooled, are the last of them.
        stride: 1 or 2.
    """

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        computed = channels - channels_in if stride == 2 else channels
        inner = computed // 4
        self.groups = 1 if channels_in == STEM else GROUPS  # too few channels behind the stem to be grouped
        self.conv1, self.bn1 = conv_bn(channels_in, inner, 1, groups=self.groups)
        self.conv2, self.bn2 = conv_bn(inner, inner, 3, stride, groups=inner)
        self.conv3, self.bn3 = conv_bn(inner, computed, 1, groups=GROUPS)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else None

    def before_relu(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        if self.groups > 1:
            y = shuffle(y, self.groups)
        y = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))
        return y + x if self.pool is None else torch.cat([y, self.pool(x)], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.before_relu(x))


class ShuffleV1(Network):
    """A 1x1 stem, three stages that each halve the resolution, and a linear classifier."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(3, STEM, 1)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = make_stage(ShuffleBlock, 4, STEM, 240, stride=2)
        self.layer2 = make_stage(ShuffleBlock, 8, 240, 480, stride=2)
        self.layer3 = make_stage(ShuffleBlock, 4, 480, 960, stride=2)
        self.linear = nn.Linear(960, num_classes)

    def features(self, images: Tensor, preactivation: bool = False) -> Features:
        check_images(images)
        x = self.relu(self.bn1(self.conv1(images)))
        x, maps = run_stages((self.layer1, self.layer2, self.layer3), x, preactivation)
        pooled = x.mean((2, 3))
        return Features(maps, pooled, self.linear(pooled))


NETWORK, CONFIGS = ShuffleV1, {"ShuffleV1": ()}
