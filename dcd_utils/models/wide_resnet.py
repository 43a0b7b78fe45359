"""Wide ResNets (Zagoruyko and Komodakis, arXiv:1605.07146), with the tensor names of the shared checkpoints."""

from collections import OrderedDict
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from dcd_utils.models.network import Features, Network, init_convolutions, make_stage


class PreActivationBlock(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convolutions; a shortcut that changes the shape starts behind them."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        # the shared checkpoints spell it so
        self.convShortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False) if channels_in != channels else None

    def forward(self, x: Tensor) -> Tensor:
        activated = self.bn1(x).relu_()
        shortcut = x if self.convShortcut is None else self.convShortcut(activated)
        return shortcut + self.conv2(self.bn2(self.conv1(activated)).relu_())


class WideResNet(Network):
    """A stem, three stages of n pre-activation blocks, a last batch norm, and a linear classifier; depth is 6n + 4,
    and `widen` is the factor on the channels 16, 32, 64 of the stages."""

    def __init__(self, depth: int, widen: int, num_classes: int):
        super().__init__()
        blocks = (depth - 4) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        widths = (16, 16 * widen, 32 * widen, 64 * widen)
        for i, stride in enumerate((1, 2, 2)):
            stage = make_stage(PreActivationBlock, blocks, widths[i], widths[i + 1], stride)
            self.add_module(f"block{i + 1}", nn.Sequential(OrderedDict(layer=stage)))
        self.bn1 = nn.BatchNorm2d(64 * widen)
        self.fc = nn.Linear(64 * widen, num_classes)
        init_convolutions(self)
        nn.init.zeros_(self.fc.bias)

    def _run(self, images: Tensor, preactivation: bool) -> Features:
        maps = [self.conv1(images)]
        for stage in (self.block1, self.block2, self.block3):
            maps.append(stage(maps[-1]))
        pooled = self.bn1(maps[-1]).relu_().mean((2, 3))
        if preactivation:
            norms = (self.block2.layer[0].bn1, self.block3.layer[0].bn1, self.bn1)
            maps[1:] = [_normalise(norm, stage_map) for norm, stage_map in zip(norms, maps[1:], strict=True)]
        return Features(maps, pooled, self.fc(pooled))


def _normalise(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """The batch norm's output, leaving its running statistics alone: the forward pass has updated them already."""
    mean, variance = (None, None) if norm.training else (norm.running_mean, norm.running_var)
    return F.batch_norm(x, mean, variance, norm.weight, norm.bias, norm.training, eps=norm.eps)


NETWORKS = {f"wrn_{depth}_{widen}": partial(WideResNet, depth, widen) for depth in (16, 40) for widen in (1, 2)}
