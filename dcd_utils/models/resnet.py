"""ResNets (He et al., arXiv:1512.03385) for small images, with the tensor names of the shared checkpoints."""

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
    """The CIFAR ResNet (section 4.2): three stages of n blocks at full, half and quarter resolution; depth is 6n + 2,
    and `widths` are the channels of the stem and of the three stages."""

    def __init__(self, depth: int, widths: tuple[int, int, int, int], num_classes: int):
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1, self.bn1 = conv_bn(3, widths[0], 3)
        self.layer1 = make_stage(BasicBlock, blocks, widths[0], widths[1], stride=1)
        self.layer2 = make_stage(BasicBlock, blocks, widths[1], widths[2], stride=2)
        self.layer3 = make_stage(BasicBlock, blocks, widths[2], widths[3], stride=2)
        self.fc = nn.Linear(widths[3], num_classes)
        init_convolutions(self)


class ResNet50(StagedNetwork):
    """The ImageNet ResNet-50 (table 1) behind a 3x3 stem without pooling: four stages of bottleneck blocks."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(3, 64, 3)
        self.layer1 = make_stage(Bottleneck, 3, 64, 256, stride=1)
        self.layer2 = make_stage(Bottleneck, 4, 256, 512, stride=2)
        self.layer3 = make_stage(Bottleneck, 6, 512, 1024, stride=2)
        self.layer4 = make_stage(Bottleneck, 3, 1024, 2048, stride=2)
        self.linear = nn.Linear(2048, num_classes)
        init_convolutions(self)


NETWORKS = {f"resnet{depth}": partial(ResNet, depth, (16, 16, 32, 64)) for depth in (8, 14, 20, 32, 44, 56, 110)}
NETWORKS |= {f"resnet{depth}x4": partial(ResNet, depth, (32, 64, 128, 256)) for depth in (8, 32)}
NETWORKS |= {"ResNet50": ResNet50}
