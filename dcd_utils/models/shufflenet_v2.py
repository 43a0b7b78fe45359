"""ShuffleNet V2 (Ma et al., arXiv:1807.11164) for small images, with the tensor names of the shared checkpoints."""

import torch
from torch import Tensor, nn

from dcd_utils.models.network import Features, Network, check_images, conv_bn

STEM = 24


def interleave(first: Tensor, second: Tensor) -> Tensor:
    """Channels taken in turn from two tensors of equal shape: what a shuffle of their two groups gives."""
    if second.is_contiguous(memory_format=torch.channels_last):  # stays in that layout
        pair = torch.stack([first.permute(0, 2, 3, 1), second.permute(0, 2, 3, 1)], dim=4)
        return pair.flatten(3).permute(0, 3, 1, 2)
    return torch.stack([first, second], dim=2).flatten(1, 2)


class SplitBlock(nn.Module):
    """One half of the channels passes by; the other goes through 1x1, channel-wise 3x3 and 1x1 convolutions."""

    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.conv1, self.bn1 = conv_bn(half, half, 1)
        self.conv2, self.bn2 = conv_bn(half, half, 3, groups=half)
        self.conv3, self.bn3 = conv_bn(half, half, 1)
        self.relu = nn.ReLU(inplace=True)

    def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The half that passes by, and the other before its last ReLU."""
        kept, x = x.chunk(2, dim=1)
        x = self.relu(self.bn1(self.conv1(x)))
        return kept, self.bn3(self.conv3(self.bn2(self.conv2(x))))

    def forward(self, x: Tensor) -> Tensor:
        kept, x = self.halves(x)
        return interleave(kept, self.relu(x))


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
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        left = self.relu(self.bn2(self.conv2(self.bn1(self.conv1(x)))))
        right = self.relu(self.bn3(self.conv3(x)))
        right = self.relu(self.bn5(self.conv5(self.bn4(self.conv4(right)))))
        return interleave(left, right)


class ShuffleV2(Network):
    """A 1x1 stem, three stages that each halve the resolution, a 1x1 convolution, and a linear classifier."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(3, STEM, 1)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = self._stage(4, STEM, 116)
        self.layer2 = self._stage(8, 116, 232)
        self.layer3 = self._stage(4, 232, 464)
        self.conv2, self.bn2 = conv_bn(464, 1024, 1)
        self.linear = nn.Linear(1024, num_classes)

    @staticmethod
    def _stage(blocks: int, channels_in: int, channels: int) -> nn.Sequential:
        return nn.Sequential(DownBlock(channels_in, channels), *[SplitBlock(channels) for _ in range(blocks - 1)])

    def features(self, images: Tensor, preactivation: bool = False) -> Features:
        """As every network's; with `preactivation`, a map's channels are the two halves one after the other.

        The published networks take that map before the shuffle, so its channels are in another order than the map's.
        """
        check_images(images)
        x = self.relu(self.bn1(self.conv1(images)))
        maps = [x]
        for stage in (self.layer1, self.layer2, self.layer3):
            if preactivation:
                kept, before = stage[-1].halves(stage[:-1](x))
                maps.append(torch.cat([kept, before], dim=1))
                x = interleave(kept, torch.relu(before))
            else:
                x = stage(x)
                maps.append(x)
        pooled = self.relu(self.bn2(self.conv2(x))).mean((2, 3))
        return Features(maps, pooled, self.linear(pooled))


NETWORK, CONFIGS = ShuffleV2, {"ShuffleV2": ()}
