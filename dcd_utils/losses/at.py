"""Attention transfer (Zagoruyko and Komodakis, 2017, arXiv:1612.03928)."""

from itertools import starmap

from torch import Tensor

from dcd_utils.losses.method import loss_of, unsized
from dcd_utils.losses.shared import Loss, pair_stages, same_size, unit


def attention(map: Tensor) -> Tensor:
    """Where a map is strong: mean of squares over channels, as unit vectors [B, height * width]."""
    return unit(map.pow(2).mean(dim=1).flatten(1))


@loss_of("at", unsized, "maps", spans="image", weight=1000.0, source="Zagoruyko and Komodakis, 2017, arXiv:1612.03928")
class ATLoss(Loss):
    """Mean squared difference of the attention maps, summed over the stages (arXiv:1612.03928, eq. 2). The mean over
    positions, not the norm of the paper's equation, is what the published weight of 1000 belongs to."""

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        pairs = starmap(same_size, pair_stages(student, teacher))
        return sum((attention(s) - attention(t)).pow(2).mean() for s, t in pairs)
