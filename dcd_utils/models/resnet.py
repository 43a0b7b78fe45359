"""ResNets (He et al., arXiv:1512.03385) for small images, with the tensor names of the shared checkpoints."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from dcd_utils.models.network import Block, StagedNetwork, conv_bn, init_convolutions, make_stage


class BasicBlock(Block):
    """Two 3x3 convolutions beside a shortcut; the shortcut is a 1x1 convolution where the shape changes."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(channels_in, channels, 3, stride)
        self.conv2, self.bn2 = conv_bn(channels, channels, 3)
        self.downsample = None
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(*conv_bn(channels_in, channels, 1, stride))

    def before_relu(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.bn1(self.conv1(x)).relu_()
        return self.bn2(self.conv2(x)) + shortcut


class Bottleneck(Block):
    """Convolutions of 1x1, 3x3 and 1x1 beside a shortcut; the first narrows to a quarter of `channels`."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        inner = channels // 4
        self.conv1, self.bn1 = conv_bn(channels_in, inner, 1)
        self.conv2, self.bn2 = conv_bn(inner, inner, 3, stride)
        self.conv3, self.bn3 = conv_bn(inner, channels, 1)
        self.shortcut = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(*conv_bn(channels_in, channels, 1, stride))

    def before_relu(self, x: Tensor) -> Tensor:
        shortcut = self.shortcut(x)
        x = self.bn1(self.conv1(x)).relu_()
        x = self.bn2(self.conv2(x)).relu_()
        return self.bn3(self.conv3(x)) + shortcut


class ResNet(StagedNetwork):
    """A 3x3 stem without pooling, a stage for each number of blocks, which halves the resolution (but the first), and a
    linear classifier of the given name; `widths` are the channels of the stem and of the stages."""

    def __init__(self, block: type[Block], blocks: Sequence[int], widths: Sequence[int], classifier: str,
                 num_classes: int):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(3, widths[0], 3)
        for stage, count in enumerate(blocks):
            layer = make_stage(block, count, widths[stage], widths[stage + 1], stride=2 if stage else 1)
            self.add_module(f"layer{stage + 1}", layer)
        self.add_module(classifier, nn.Linear(widths[-1], num_classes))
        init_convolutions(self)


# the CIFAR ResNets (section 4.2): three stages of n blocks; depth is 6n + 2
_WIDTHS = {"": (16, 16, 32, 64), "x4": (32, 64, 128, 256)}
_DEPTHS = [(depth, "") for depth in (8, 14, 20, 32, 44, 56, 110)] + [(8, "x4"), (32, "x4")]
NETWORKS = {f"resnet{n}{x}": partial(ResNet, BasicBlock, [(n - 2) // 6] * 3, _WIDTHS[x], "fc") for n, x in _DEPTHS}
# the ImageNet ResNet-50 (table 1) behind the small stem
NETWORKS |= {"ResNet50": partial(ResNet, Bottleneck, (3, 4, 6, 3), (64, 256, 512, 1024, 2048), "linear")}
