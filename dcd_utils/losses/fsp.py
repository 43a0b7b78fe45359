"""Flow of the solution procedure (Yim et al., 2017, CVPR, "A Gift from Knowledge Distillation")."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from dcd_utils.losses.method import Method, Stage, register, sized_by_maps
from dcd_utils.losses.shared import same_size


def flow(first: Tensor, second: Tensor) -> Tensor:
    """How two maps of a network go together: mean over positions of channel products, [B, channels, channels]."""
    first, second = same_size(first, second)
    return torch.einsum("bchw,bdhw->bdc", first, second) / (first.shape[2] * first.shape[3])


class FSPLoss(nn.Module):
    """Mean squared difference of the flows between neighbouring maps, the stem included (Yim et al., 2017, eq. 2).

    Used in a first stage; it has no weight afterwards. Built from example maps, two lists of [B, channels, height,
    width], and called with two such lists, it returns a scalar. Raises ValueError if the networks differ in the number
    of maps or in their channels.
    """

    def __init__(self, student: list[Tensor], teacher: list[Tensor]):
        super().__init__()
        channels, teacher_channels = ([map.shape[1] for map in maps] for maps in (student, teacher))
        if channels != teacher_channels:
            raise ValueError(
                f"the student's maps have {channels} channels, the teacher's {teacher_channels}: fsp compares channel "
                "by channel, so they must be equal; choose another pair or another method"
            )

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        total = 0.0
        for (s, s_next), (t, t_next) in zip(pairwise(student), pairwise(teacher), strict=True):
            total = total + (flow(s, s_next) - flow(t.detach(), t_next.detach())).pow(2).mean()
        return total

    def stage(self) -> Stage:
        return Stage(self, learning_rate=0.05)


register(Method("fsp", sized_by_maps(FSPLoss), reads="maps", weight=0.0, source="Yim et al., 2017, CVPR"))
