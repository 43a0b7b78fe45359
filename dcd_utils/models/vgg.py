"""VGG with batch norm (Simonyan and Zisserman, arXiv:1409.1556) for small images, with the shared tensor names."""

from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from dcd_utils.models.network import Features, Network, init_convolutions


class VGG(Network):
    """Five stages of 3x3 convolutions (their number in each is given), max pooling between them, and one linear
    classifier. The pooling before the last stage is left out below 64 pixels, so that a 32x32 image keeps a 4x4 map."""

    def __init__(self, convolutions: tuple[int, int, int, int, int], num_classes: int):
        super().__init__()
        for index, channels in enumerate(((3, 64), (64, 128), (128, 256), (256, 512), (512, 512))):
            self.add_module(f"block{index}", self._stage(convolutions[index], *channels))
        self.classifier = nn.Linear(512, num_classes)
        init_convolutions(self)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    @staticmethod
    def _stage(convolutions: int, channels_in: int, channels: int) -> nn.Sequential:
        layers = []
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels_in, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
            channels_in = channels
        return nn.Sequential(*layers[:-1])  # `_run` applies the last ReLU

    def _run(self, images: Tensor, preactivation: bool) -> Features:
        x = self.block0(images).relu_()
        maps = [x]
        for stage in (self.block1, self.block2, self.block3, self.block4):
            if stage is not self.block4 or images.shape[2] >= 64:
                x = F.max_pool2d(x, 2)
            before = stage(x)
            x = before.relu() if preactivation else before.relu_()
            maps.append(before if preactivation else x)
        pooled = x.mean((2, 3))
        return Features(maps, pooled, self.classifier(pooled))


_CONVOLUTIONS = {"vgg8": (1, 1, 1, 1, 1), "vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3),
                 "vgg19": (2, 2, 4, 4, 4)}  # fmt: skip
NETWORKS = {name: partial(VGG, convolutions) for name, convolutions in _CONVOLUTIONS.items()}
