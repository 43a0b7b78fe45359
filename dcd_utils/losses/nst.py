"""Neuron selectivity transfer (Huang and Wang, 2017, arXiv:1707.01219)."""

import torch.nn.functional as F
from torch import Tensor, nn

from dcd_utils.losses.method import Method, register, unsized
from dcd_utils.losses.shared import pair_stages, same_size


def _kernel(first: Tensor, second: Tensor) -> Tensor:
    """Mean of the squared inner products of two sets of channels, each a unit vector over positions."""
    return (first @ second.transpose(1, 2)).pow(2).mean()


class NSTLoss(nn.Module):
    """Maximum mean discrepancy between the channels of both networks, summed over stages (arXiv:1707.01219, eq. 7).

    The kernel is the squared inner product of channels normalised over positions. The teacher's own term has no
    gradient; it makes the value a squared distance. Called with two lists of maps it returns a scalar.
    """

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        total = 0.0
        for student_map, teacher_map in pair_stages(student, teacher):
            maps = same_size(student_map, teacher_map.detach())
            s, t = (F.normalize(map.flatten(2), dim=2) for map in maps)
            total = total + _kernel(t, t) + _kernel(s, s) - 2 * _kernel(s, t)
        return total


register(Method("nst", unsized(NSTLoss), reads="maps", weight=50.0, source="Huang and Wang, 2017, arXiv:1707.01219"))
