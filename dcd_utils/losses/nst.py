"""Neuron selectivity transfer (Huang and Wang, 2017, arXiv:1707.01219)."""

from itertools import starmap

from torch import Tensor

from dcd_utils.losses.method import loss_of, unsized
from dcd_utils.losses.shared import Loss, pair_stages, same_size, unit


def _kernel(first: Tensor, second: Tensor) -> Tensor:
    """Mean of the squared inner products of two sets of channels, each a unit vector over positions."""
    return (first @ second.transpose(1, 2)).pow(2).mean()


@loss_of("nst", unsized, "maps", spans="image", weight=50.0, source="Huang and Wang, 2017, arXiv:1707.01219")
class NSTLoss(Loss):
    """Maximum mean discrepancy between the channels of both networks, summed over stages (arXiv:1707.01219, eq. 7). The
    teacher's own term has no gradient; it makes the value a squared distance."""

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        total = 0.0
        for pair in starmap(same_size, pair_stages(student, teacher)):
            s, t = (unit(map.flatten(2), dim=2) for map in pair)
            total = total + _kernel(t, t) + _kernel(s, s) - 2 * _kernel(s, t)
        return total
