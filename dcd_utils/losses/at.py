"""Attention transfer (Zagoruyko and Komodakis, 2017, arXiv:1612.03928)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from dcd_utils.losses.maps import pair_stages, same_size
from dcd_utils.losses.method import Method, register


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
        for own, target in pair_stages(student, teacher):
            own, target = same_size(own, target.detach())
            total = total + (attention(own) - attention(target)).pow(2).mean()
        return total


register(
    Method(
        "at",
        build=lambda student, teacher: ATLoss(),
        reads="maps",
        weight=1000.0,
        source="Zagoruyko and Komodakis, 2017, arXiv:1612.03928",
    )
)
