"""Variational information distillation (Ahn et al., 2019, arXiv:1904.05835)."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_utils.losses.method import loss_of, sized_by_maps
from dcd_utils.losses.shared import Loss, check, pair_stages, same_size


class Predictor(nn.Module):
    """A Gaussian over one stage of the teacher: its mean from the student's map, one variance per channel."""

    def __init__(self, student_channels: int, teacher_channels: int, variance: float, smallest: float):
        super().__init__()
        conv = partial(nn.Conv2d, out_channels=teacher_channels, kernel_size=1, bias=False)
        layers = conv(student_channels), nn.ReLU(), conv(teacher_channels), nn.ReLU(), conv(teacher_channels)
        self.mean = nn.Sequential(*layers)
        # softplus of this is the variance that training starts from
        self.spread = nn.Parameter(torch.full((teacher_channels,), math.log(math.expm1(variance - smallest))))
        self.smallest = smallest

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = same_size(student, teacher)
        variance = (F.softplus(self.spread) + self.smallest).view(1, -1, 1, 1)
        return 0.5 * ((self.mean(student) - teacher).pow(2) / variance + variance.log()).mean()


@loss_of("vid", sized_by_maps, "maps", spans="image", weight=1.0, source="Ahn et al., 2019, arXiv:1904.05835")
class VIDLoss(Loss):
    """Negative log-likelihood of the teacher's maps given the student's, summed over stages (arXiv:1904.05835, eq. 6),
    negative where a density is large. `variance` is where each channel's variance starts, `smallest` is added."""

    def __init__(self, student: list[Tensor], teacher: list[Tensor], variance: float = 5.0, smallest: float = 1e-5):
        super().__init__()
        check("a finite number of at least 0", variance=variance, smallest=smallest)
        check("a finite number above 0", **{"variance - smallest": variance - smallest})
        pairs = pair_stages(student, teacher)
        self.predictors = nn.ModuleList(Predictor(s.shape[1], t.shape[1], variance, smallest) for s, t in pairs)

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        pairs = zip(self.predictors, pair_stages(student, teacher), strict=True)
        return sum(predictor(*pair) for predictor, pair in pairs)
