"""Neuron selectivity transfer (Huang and Wang, 2017, arXiv:1707.01219)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from dcd_utils.losses.maps import pair_stages, same_size
from dcd_utils.losses.method import Method, register


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
        for own, target in pair_stages(student, teacher):
            own, target = same_size(own, target.detach())
            own, target = F.normalize(own.flatten(2), dim=2), F.normalize(target.flatten(2), dim=2)
            total = total + _kernel(target, target) + _kernel(own, own) - 2 * _kernel(own, target)
        return total


register(
    Method(
        "nst",
        build=lambda student, teacher: NSTLoss(),
        reads="maps",
        weight=50.0,
        source="Huang and Wang, 2017, arXiv:1707.01219",
    )
)
