"""MobileNetV2 (Sandler et al., arXiv:1801.04381) at half width for small images, with the shared tensor names."""

from __future__ import annotations

from torch import Tensor, nn

from dcd_utils.models.network import Features, Network, check_images

CONFIGS = {"MobileNetV2": (0.5, 6)}
# expansion of the block's inner channels (None: the network's), channels at full width, blocks, stride
STAGES = ((1, 16, 1, 1), (None, 24, 2, 1), (None, 32, 3, 2), (None, 64, 4, 2), (None, 96, 3, 1), (None, 160, 3, 2),
          (None, 320, 1, 1))  # fmt: skip
MAPS_AFTER = (1, 2, 4, 6)  # the last stage at each resolution
PENULTIMATE = 1280


class InvertedResidual(nn.Module):
    """A 1x1 convolution widens, a 3x3 one acts on each channel, and a 1x1 one narrows again, with no ReLU behind it."""

    def __init__(self, channels_in: int, channels: int, stride: int, expansion: int):
        super().__init__()
        inner = expansion * channels_in
        self.conv = nn.Sequential(
            nn.Conv2d(channels_in, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, inner, 3, stride, padding=1, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.residual = stride == 1 and channels_in == channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(Network):
    """A stem at half resolution, seven stages of inverted residuals, a 1x1 convolution, and a linear classifier.

    Args:
        width: factor on the channels of the stem and the stages.
        expansion: factor from a block's input channels to its inner channels.
        num_classes: number of outputs.
    """

    def __init__(self, width: float, expansion: int, num_classes: int):
        super().__init__()
        channels_in = int(32 * width)
        self.conv1 = self._convolution(3, channels_in, 3, stride=2)
        self.blocks = nn.ModuleList()
        for own_expansion, full_channels, blocks, stride in STAGES:
            factor, channels = own_expansion or expansion, int(full_channels * width)
            rest = [InvertedResidual(channels, channels, 1, factor) for _ in range(blocks - 1)]
            self.blocks.append(nn.Sequential(InvertedResidual(channels_in, channels, stride, factor), *rest))
            channels_in = channels
        self.conv2 = self._convolution(channels_in, PENULTIMATE, 1, stride=1)
        self.classifier = nn.Sequential(nn.Linear(PENULTIMATE, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.classifier[0].weight, std=0.01)
        nn.init.zeros_(self.classifier[0].bias)

    @staticmethod
    def _convolution(channels_in: int, channels: int, size: int, stride: int) -> nn.Sequential:
        convolution = nn.Conv2d(channels_in, channels, size, stride, padding=size // 2, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))

    def features(self, images: Tensor, preactivation: bool = False) -> Features:
        """As every network's; the stages end without a ReLU, so `preactivation` changes nothing."""
        check_images(images)
        x = self.conv1(images)
        maps = [x]
        for index, stage in enumerate(self.blocks):
            x = stage(x)
            if index in MAPS_AFTER:
                maps.append(x)
        pooled = self.conv2(x).mean((2, 3))
        return Features(maps, pooled, self.classifier(pooled))


def build(name: str, num_classes: int) -> MobileNetV2:
    return MobileNetV2(*CONFIGS[name], num_classes)
