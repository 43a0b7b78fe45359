"""MobileNetV2 (Sandler et al., arXiv:1801.04381) at half width for small images, with the shared tensor names."""

from functools import partial

from torch import Tensor, nn

from dcd_utils.models.network import Features, Network, conv_bn, init_convolutions, make_stage

STEM = 16  # channels of the stem: half of the published ones, as in the stages
# factor from a block's input channels to its inner channels, channels, blocks, stride
STAGES = ((1, 8, 1, 1), (6, 12, 2, 1), (6, 16, 3, 2), (6, 32, 4, 2), (6, 48, 3, 1), (6, 80, 3, 2), (6, 160, 1, 1))
MAPS_AFTER = (0, 2, 3, 5, 7)  # the stem (0) and the last of the stages (1 to 7) at each resolution
PENULTIMATE = 1280


class InvertedResidual(nn.Module):
    """A 1x1 convolution widens, a 3x3 one acts on each channel, and a 1x1 one narrows again, with no ReLU behind it."""

    def __init__(self, channels_in: int, channels: int, stride: int, expansion: int):
        super().__init__()
        inner = expansion * channels_in
        widen = *conv_bn(channels_in, inner, 1), nn.ReLU(inplace=True)
        filters = *conv_bn(inner, inner, 3, stride, groups=inner), nn.ReLU(inplace=True)
        self.conv = nn.Sequential(*widen, *filters, *conv_bn(inner, channels, 1))
        self.residual = stride == 1 and channels_in == channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(Network):
    """A stem at half resolution, seven stages of inverted residuals, a 1x1 convolution, and a linear classifier."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.conv1 = nn.Sequential(*conv_bn(3, STEM, 3, stride=2), nn.ReLU(inplace=True))
        self.blocks, channels_in = nn.ModuleList(), STEM
        for expansion, channels, blocks, stride in STAGES:
            block = partial(InvertedResidual, expansion=expansion)
            self.blocks.append(make_stage(block, blocks, channels_in, channels, stride))
            channels_in = channels
        self.conv2 = nn.Sequential(*conv_bn(channels_in, PENULTIMATE, 1), nn.ReLU(inplace=True))
        self.classifier = nn.Sequential(nn.Linear(PENULTIMATE, num_classes))
        init_convolutions(self)
        nn.init.normal_(self.classifier[0].weight, std=0.01)
        nn.init.zeros_(self.classifier[0].bias)

    def _run(self, images: Tensor, preactivation: bool) -> Features:
        outputs = [self.conv1(images)]
        for stage in self.blocks:
            outputs.append(stage(outputs[-1]))
        pooled = self.conv2(outputs[-1]).mean((2, 3))
        return Features([outputs[index] for index in MAPS_AFTER], pooled, self.classifier(pooled))


NETWORKS = {"MobileNetV2": MobileNetV2}
