"""Flow of the solution procedure (Yim et al., 2017, CVPR, "A Gift from Knowledge Distillation")."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dcd_utils.losses.maps import same_size
from dcd_utils.losses.method import Method, Stage, register


def flow(first: Tensor, second: Tensor) -> Tensor:
    """How two maps of a network go together: mean over positions of channel products, [B, channels, channels]."""
    first, second = same_size(first, second)
    positions = first.shape[2] * first.shape[3]
    return torch.einsum("bchw,bdhw->bdc", first, second) / positions


class FSPLoss(nn.Module):
    """Mean squared difference of the flows between neighbouring maps, the stem included (Yim et al., 2017, eq. 2).

    Used in a first stage; it has no weight afterwards.

    Args:
        student, teacher: example maps, each a list of [B, channels, height, width].

    Called with the two lists of maps it returns a scalar.

    Raises:
        ValueError: the networks differ in the number of maps or in their channels.
    """

    def __init__(self, student: list[Tensor], teacher: list[Tensor]):
        super().__init__()
        own, target = [map.shape[1] for map in student], [map.shape[1] for map in teacher]
        if own != target:
            raise ValueError(
                f"the student's maps have {own} channels, the teacher's {target}: fsp compares channel by channel, so "
                "they must be equal; choose another pair or another method"
            )

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        total = 0.0
        for index in range(len(student) - 1):
            target = flow(teacher[index].detach(), teacher[index + 1].detach())
            total = total + (flow(student[index], student[index + 1]) - target).pow(2).mean()
        return total

    def stage(self) -> Stage:
        return Stage(self, learning_rate=0.05)


register(
    Method(
        "fsp",
        build=lambda student, teacher: FSPLoss(student.maps, teacher.maps),
        reads="maps",
        weight=0.0,
        source="Yim et al., 2017, CVPR",
    )
)
