"""MobileNetV2 (Sandler et al., arXiv:1801.04381) at half width for small images, with the shared tensor names."""

from functools import partial

from torch import Tensor, nn

from dcd_utils.models.network import Features, Network, check_images, conv_bn, init_convolutions, make_stage

WIDTH = 0.5  # factor on the channels of the stem and the stages
# factor from a block's input channels to its inner channels, channels at full width, blocks, stride
STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
MAPS_AFTER = (1, 2, 4, 6)  # the last stage at each resolution
PENULTIMATE = 1280


class InvertedResidual(nn.Module):
    """A 1x1 convolution widens, a 3x3 one acts on each channel, and a 1x1 one narrows again, with no ReLU behind it."""

    def __init__(self, channels_in: int, channels: int, stride: int, expansion: int):
        super().__init__()
        inner = expansion * channels_in
        self.conv = nn.Sequential(
            *conv_bn(channels_in, inner, 1),
            nn.ReLU(inplace=True),
            *conv_bn(inner, inner, 3, stride, groups=inner),
            nn.ReLU(inplace=True),
            *conv_bn(inner, channels, 1),
        )
        self.residual = stride == 1 and channels_in == channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(Network):
    """A stem at half resolution, seven stages of inverted residuals, a 1x1 convolution, and a linear classifier."""

    def __init__(self, num_classes: int):
        super().__init__()
        channels_in = int(32 * WIDTH)
        self.conv1 = nn.Sequential(*conv_bn(3, channels_in, 3, stride=2), nn.ReLU(inplace=True))
        self.blocks = nn.ModuleList()
        for expansion, full_channels, blocks, stride in STAGES:
            block, channels = partial(InvertedResidual, expansion=expansion), int(full_channels * WIDTH)
            self.blocks.append(make_stage(block, blocks, channels_in, channels, stride))
            channels_in = channels
        self.conv2 = nn.Sequential(*conv_bn(channels_in, PENULTIMATE, 1), nn.ReLU(inplace=True))
        self.classifier = nn.Sequential(nn.Linear(PENULTIMATE, num_classes))
        init_convolutions(self)
        nn.init.normal_(self.classifier[0].weight, std=0.01)
        nn.init.zeros_(self.classifier[0].bias)

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


NETWORK, CONFIGS = MobileNetV2, {"MobileNetV2": ()}
