"""Attention transfer (Zagoruyko and Komodakis, 2017, arXiv:1612.03928)."""

import torch.nn.functional as F
from torch import Tensor, nn

from dcd_utils.losses.method import Method, register, unsized
from dcd_utils.losses.shared import pair_stages, same_size


def attention(map: Tensor) -> Tensor:
    """Where a map is strong: mean of squares over channels, as unit vectors [B, height * width]."""
    return F.normalize(map.pow(2).mean(dim=1).flatten(1), dim=1)


class ATLoss(nn.Module):
    """Mean squared difference of the attention maps, summed over the stages (arXiv:1612.03928, eq. 2).

    The mean over positions, not the norm of the paper's equation, is what the published weight of 1000 belongs to.
    Called with two lists of maps it returns a scalar. Raises ValueError if a network shows no stages.
    """

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        total = 0.0
        for student_map, teacher_map in pair_stages(student, teacher):
            student_map, teacher_map = same_size(student_map, teacher_map.detach())
            total = total + (attention(student_map) - attention(teacher_map)).pow(2).mean()
        return total


register(
    Method("at", unsized(ATLoss), reads="maps", weight=1000.0, source="Zagoruyko and Komodakis, 2017, arXiv:1612.03928")
)
