"""CIFAR ResNets (He et al., arXiv:1512.03385, section 4.2), with the tensor names of the shared checkpoints."""

from torch import Tensor, nn

from dcd_utils.models.network import Features, Network, check_images, conv_bn, init_convolutions, make_stage, run_stages


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the shortcut is a 1x1 convolution where the shape changes."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(channels_in, channels, 3, stride)
        self.conv2, self.bn2 = conv_bn(channels, channels, 3)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(*conv_bn(channels_in, channels, 1, stride))

    def before_relu(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(x)) + shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.before_relu(x))


class ResNet(Network):
    """A stem, three stages of (depth - 2) / 6 blocks at full, half and quarter resolution, and a linear classifier.

    Args:
        depth: 6n + 2.
        widths: channels of the stem and of the three stages.
    """

    def __init__(self, depth: int, widths: tuple[int, int, int, int], num_classes: int):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(3, widths[0], 3)
        self.relu = nn.ReLU(inplace=True)
        blocks = (depth - 2) // 6
        self.layer1 = make_stage(BasicBlock, blocks, widths[0], widths[1], stride=1)
        self.layer2 = make_stage(BasicBlock, blocks, widths[1], widths[2], stride=2)
        self.layer3 = make_stage(BasicBlock, blocks, widths[2], widths[3], stride=2)
        self.fc = nn.Linear(widths[3], num_classes)
        init_convolutions(self)

    def features(self, images: Tensor, preactivation: bool = False) -> Features:
        check_images(images)
        x = self.relu(self.bn1(self.conv1(images)))
        x, maps = run_stages((self.layer1, self.layer2, self.layer3), x, preactivation)
        pooled = x.mean((2, 3))
        return Features(maps, pooled, self.fc(pooled))


NETWORK = ResNet
CONFIGS = {f"resnet{depth}": (depth, (16, 16, 32, 64)) for depth in (8, 14, 20, 32, 44, 56, 110)}
CONFIGS |= {f"resnet{depth}x4": (depth, (32, 64, 128, 256)) for depth in (8, 32)}
