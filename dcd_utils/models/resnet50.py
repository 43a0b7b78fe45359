"""ResNet-50 (He et al., arXiv:1512.03385, table 1) behind a stem for small images, with the shared tensor names."""

from torch import Tensor, nn

from dcd_utils.models.network import Features, Network, check_images, conv_bn, init_convolutions, make_stage, run_stages


class Bottleneck(nn.Module):
    """Convolutions of 1x1, 3x3 and 1x1 beside a shortcut; the first narrows to a quarter of `channels`."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        inner = channels // 4
        self.conv1, self.bn1 = conv_bn(channels_in, inner, 1)
        self.conv2, self.bn2 = conv_bn(inner, inner, 3, stride)
        self.conv3, self.bn3 = conv_bn(inner, channels, 1)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(*conv_bn(channels_in, channels, 1, stride))

    def before_relu(self, x: Tensor) -> Tensor:
        shortcut = self.shortcut(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x)) + shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.before_relu(x))


class ResNet50(Network):
    """A 3x3 stem without pooling, four stages of bottleneck blocks, and a linear classifier."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(3, 64, 3)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = make_stage(Bottleneck, 3, 64, 256, stride=1)
        self.layer2 = make_stage(Bottleneck, 4, 256, 512, stride=2)
        self.layer3 = make_stage(Bottleneck, 6, 512, 1024, stride=2)
        self.layer4 = make_stage(Bottleneck, 3, 1024, 2048, stride=2)
        self.linear = nn.Linear(2048, num_classes)
        init_convolutions(self)

    def features(self, images: Tensor, preactivation: bool = False) -> Features:
        check_images(images)
        x = self.relu(self.bn1(self.conv1(images)))
        x, maps = run_stages((self.layer1, self.layer2, self.layer3, self.layer4), x, preactivation)
        pooled = x.mean((2, 3))
        return Features(maps, pooled, self.linear(pooled))


NETWORK, CONFIGS = ResNet50, {"ResNet50": ()}
