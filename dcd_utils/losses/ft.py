"""Factor transfer (Kim, Park and Kwak, 2018, arXiv:1802.04977)."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_utils.losses.at import attention
from dcd_utils.losses.method import Stage, loss_of, sized_by_maps
from dcd_utils.losses.shared import Loss, check, same_size


def _layers(kind: type[nn.Module], channels: list[int], norm: bool) -> nn.Sequential:
    """3x3 convolutions of the given kind, each followed by batch norm (if asked for) and a leaky ReLU."""
    layers = []
    for before, after in pairwise(channels):
        layers += [kind(before, after, 3, padding=1), *([nn.BatchNorm2d(after)] if norm else []), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers)


class Paraphraser(Loss):
    """An autoencoder of the teacher's last map; called as a loss it returns the mean squared error of the copy."""

    def __init__(self, channels: int, factors: int):
        super().__init__()
        self.encoder = _layers(nn.Conv2d, [channels, channels, factors, factors], False)
        self.decoder = _layers(nn.ConvTranspose2d, [factors, factors, channels, channels], False)

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        target = teacher[-1].detach()
        return F.mse_loss(self.decoder(self.encoder(target)), target)


@loss_of("ft", sized_by_maps, "maps", spans="image", weight=200.0, source="Kim, Park and Kwak, 2018, arXiv:1802.04977")
class FTLoss(Loss):
    """Mean distance between the student's and the teacher's factors of the last map (arXiv:1802.04977, eq. 3).

    The paraphraser makes the teacher's factors; a first stage trains it, then it is frozen. The translator makes the
    student's. As in the published code, factors are compared through their attention maps, not channel by channel.
    Otherwise than there, the first stage has a rate of at most 0.01 for every student (published for ResNets), and the
    student runs along in training mode, which moves its batch norm statistics, though no weight. `rate` is the number
    of factors over the teacher's channels.
    """

    def __init__(self, student: list[Tensor], teacher: list[Tensor], rate: float = 0.5):
        super().__init__()
        check("a finite number above 0", rate=rate)
        student_channels, channels = student[-1].shape[1], teacher[-1].shape[1]
        if (factors := int(channels * rate)) < 1:
            raise ValueError(f"rate={rate} was given: of {channels} channels no factor is left")
        self.paraphraser = Paraphraser(channels, factors)
        self.translator = _layers(nn.Conv2d, [student_channels, student_channels, factors, factors], True)

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        with torch.no_grad():
            teacher_factors = self.paraphraser.encoder(teacher[-1])
        student_factors, teacher_factors = same_size(self.translator(student[-1]), teacher_factors)
        return (attention(student_factors) - attention(teacher_factors)).abs().mean()

    def stage(self) -> Stage:
        return Stage(self.paraphraser, learning_rate=0.01)
