"""Relational knowledge distillation (Park et al., 2019, arXiv:1904.05068)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dcd_utils.distributed import first_row, gathered, total
from dcd_utils.losses.method import loss_of, unsized
from dcd_utils.losses.shared import Loss, check, unit


def distances(features: Tensor) -> Tensor:
    """Distances between the rows of a batch over their mean, zeros on the diagonal: [B, B], in one of several processes
    its own rows of these."""
    everyone = gathered(features)
    # from differences: squared norms minus products would cancel where images lie close, and the root enlarges that
    squared = (features[:, None] - everyone[None]).pow(2).sum(dim=2)
    apart = torch.ones_like(squared)
    apart.diagonal(first_row(features)).zero_()
    # the root has no slope at zero: equal images get a small distance and no gradient
    lengths = squared.clamp(min=1e-12).sqrt() * apart
    return lengths / (total(lengths) / total(apart))


def angles(features: Tensor) -> Tensor:
    """Cosine of the angle that rows j and k make, seen from row i: [B, B, B], or the own rows of these."""
    directions = unit(gathered(features)[None] - features[:, None], dim=2, shortest=1e-6)  # as in `distances`
    return directions @ directions.transpose(1, 2)


@loss_of("rkd", unsized, "pooled", spans="rows", weight=1.0, source="Park et al., 2019, arXiv:1904.05068")
class RKDLoss(Loss):
    """Huber loss between the networks' distances and between their angles (arXiv:1904.05068, eqs. 5 to 10), weighted by
    `distance` and `angle`. Angles cost B^3 numbers."""

    def __init__(self, distance: float = 25.0, angle: float = 50.0):
        super().__init__()
        check("a finite number of at least 0", distance=distance, angle=angle)
        self.distance, self.angle = distance, angle

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        teacher = teacher.detach()
        by_distance = F.smooth_l1_loss(distances(student), distances(teacher))
        by_angle = F.smooth_l1_loss(angles(student), angles(teacher))
        return self.distance * by_distance + self.angle * by_angle
