"""ResNet-50 (He et al., arXiv:1512.03385, table 1) behind a stem for small images, with the shared tensor names."""

from __future__ import annotations

from torch import Tensor, nn

from dcd_utils.models.network import Features, Network, check_images, run_stages

CONFIGS = {"ResNet50": (3, 4, 6, 3)}
EXPANSION = 4


class Bottleneck(nn.Module):
    """Convolutions of 1x1, 3x3 and 1x1 beside a shortcut; the last one widens to four times `channels`."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        channels_out = EXPANSION * channels
        self.conv1 = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def before_relu(self, x: Tensor) -> Tensor:
        shortcut = self.shortcut(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x)) + shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.before_relu(x))


class ResNet50(Network):
    """A 3x3 stem without pooling, four stages of bottleneck blocks, and a linear classifier.

    Args:
        blocks: number of blocks in each stage; each stage but the first halves the resolution.
        num_classes: number of outputs.
    """

    def __init__(self, blocks: tuple[int, int, int, int], num_classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = self._stage(blocks[0], 64, 64, stride=1)
        self.layer2 = self._stage(blocks[1], 256, 128, stride=2)
        self.layer3 = self._stage(blocks[2], 512, 256, stride=2)
        self.layer4 = self._stage(blocks[3], 1024, 512, stride=2)
        self.linear = nn.Linear(2048, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @staticmethod
    def _stage(blocks: int, channels_in: int, channels: int, stride: int) -> nn.Sequential:
        rest = [Bottleneck(EXPANSION * channels, channels, 1) for _ in range(blocks - 1)]
        return nn.Sequential(Bottleneck(channels_in, channels, stride), *rest)

    def features(self, images: Tensor, preactivation: bool = False) -> Features:
        check_images(images)
        x = self.relu(self.bn1(self.conv1(images)))
        x, maps = run_stages((self.layer1, self.layer2, self.layer3, self.layer4), x, preactivation)
        pooled = x.mean((2, 3))
        return Features(maps, pooled, self.linear(pooled))


def build(name: str, num_classes: int) -> ResNet50:
    return ResNet50(CONFIGS[name], num_classes)
