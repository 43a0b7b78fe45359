"""CIFAR ResNets (He et al., arXiv:1512.03385, section 4.2), with the tensor names of the shared checkpoints."""

from __future__ import annotations

from torch import Tensor, nn

from dcd_utils.models.network import Features, Network, check_images, run_stages

CONFIGS = {f"resnet{depth}": (depth, (16, 16, 32, 64)) for depth in (8, 14, 20, 32, 44, 56, 110)}
CONFIGS |= {f"resnet{depth}x4": (depth, (32, 64, 128, 256)) for depth in (8, 32)}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the shortcut is a 1x1 convolution where the shape changes."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

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
        num_classes: number of outputs.
    """

    def __init__(self, depth: int, widths: tuple[int, int, int, int], num_classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        blocks = (depth - 2) // 6
        self.layer1 = self._stage(blocks, widths[0], widths[1], stride=1)
        self.layer2 = self._stage(blocks, widths[1], widths[2], stride=2)
        self.layer3 = self._stage(blocks, widths[2], widths[3], stride=2)
        self.fc = nn.Linear(widths[3], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @staticmethod
    def _stage(blocks: int, channels_in: int, channels: int, stride: int) -> nn.Sequential:
        rest = [BasicBlock(channels, channels, 1) for _ in range(blocks - 1)]
        return nn.Sequential(BasicBlock(channels_in, channels, stride), *rest)

    def features(self, images: Tensor, preactivation: bool = False) -> Features:
        check_images(images)
        x = self.relu(self.bn1(self.conv1(images)))
        x, maps = run_stages((self.layer1, self.layer2, self.layer3), x, preactivation)
        pooled = x.mean((2, 3))
        return Features(maps, pooled, self.fc(pooled))


def build(name: str, num_classes: int) -> ResNet:
    return ResNet(*CONFIGS[name], num_classes)
