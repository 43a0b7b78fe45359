"""What every network of the course answers to: one pass gives maps, pooled features and logits."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class Features(NamedTuple):
    """What one forward pass computed: a map [B, channels, height, width] after the stem and after each stage, pooled
    (penultimate) features [B, width], which are the input of the classifier, and logits [B, num_classes]."""

    maps: list[Tensor]
    pooled: Tensor
    logits: Tensor


class Network(nn.Module):
    """A network for small images; calling one returns the logits. Subclasses write `_run`, what `features` returns."""

    name: str
    options: dict

    def features(self, images: Tensor, preactivation: bool = False) -> Features:
        """What one pass computes.

        Args:
            images: [B, 3, H, W].
            preactivation: the maps of the stages, from index 1 on, are what the stage's last ReLU reads: signed values,
                as AB distillation compares them (Heo et al., arXiv:1811.03233). The stem's map, the pooled features and
                the logits stay the same. A wide ResNet's map then is the next batch norm's output; MobileNetV2's stages
                end without a ReLU and stay the same; the channels of ShuffleV2's are not shuffled yet.

        Raises ValueError for a side below 16 pixels, another shape, or preactivation asked of a library's network.
        """
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < 16:
            raise ValueError(f"images are {tuple(images.shape)}: expected [B, 3, H, W], H and W of at least 16 pixels")
        return self._run(images, preactivation)

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images).logits


class StagedNetwork(Network):
    """A stem (`conv1`, `bn1`), stages that end in a `Block`, a head if any, and last the classifier."""

    def _run(self, images: Tensor, preactivation: bool) -> Features:
        x = self.bn1(self.conv1(images)).relu_()
        maps, (*parts, classifier) = [x], self.children()
        for stage in [part for part in parts if isinstance(part, nn.Sequential)]:
            if preactivation:
                stage_map, x = stage[-1].before_and_after(stage[:-1](x))
            else:
                stage_map = x = stage(x)
            maps.append(stage_map)
        pooled = self._head(x).mean((2, 3))
        return Features(maps, pooled, classifier(pooled))

    def _head(self, x: Tensor) -> Tensor:
        return x


def unwrapped(network: nn.Module) -> nn.Module:
    """The network within torch.compile, DataParallel, DistributedDataParallel or AveragedModel; another as it is."""
    wrappers = nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel
    while (inner := getattr(network, "_modules", {}).get("_orig_mod")) is not None or isinstance(network, wrappers):
        network = network.module if inner is None else inner
    return network


class Block(nn.Module):
    """A part of a stage that ends in a ReLU; subclasses write `before_relu`, which computes what that ReLU reads."""

    def forward(self, x: Tensor) -> Tensor:
        return self.before_relu(x).relu_()

    def before_and_after(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the last ReLU reads, and the block's output."""
        before = self.before_relu(x)
        return before, before.relu()


def conv_bn(channels_in: int, channels: int, size: int, stride: int = 1, groups: int = 1):
    """A convolution without bias that keeps the resolution (divided by the stride), and its batch norm: two modules."""
    convolution = nn.Conv2d(channels_in, channels, size, stride, padding=size // 2, groups=groups, bias=False)
    return convolution, nn.BatchNorm2d(channels)


def init_convolutions(network: nn.Module) -> None:
    """Draw the convolutions' weights as He et al. do (arXiv:1502.01852, fan-out), and set their biases to zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def make_stage(block: Callable[..., nn.Module], blocks: int, channels_in: int, channels: int, stride: int):
    """Blocks in a row, an nn.Sequential: the first has the stride and brings `channels_in` to `channels`."""
    rest = [block(channels, channels, 1) for _ in range(blocks - 1)]
    return nn.Sequential(block(channels_in, channels, stride), *rest)
