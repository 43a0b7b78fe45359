"""Flow of the solution procedure (Yim et al., 2017, CVPR, "A Gift from Knowledge Distillation")."""

from itertools import pairwise, starmap

import torch
from torch import Tensor

from dcd_utils.losses.method import Stage, loss_of, sized_by_maps
from dcd_utils.losses.shared import Loss, pair_stages, same_size


def flow(first: Tensor, second: Tensor) -> Tensor:
    """How two maps of a network go together: mean over positions of channel products, [B, channels, channels]."""
    first, second = same_size(first, second)
    return torch.einsum("bchw,bdhw->bdc", first, second) / (first.shape[2] * first.shape[3])


@loss_of("fsp", sized_by_maps, "maps", spans="image", weight=0.0, source="Yim et al., 2017, CVPR")
class FSPLoss(Loss):
    """Mean squared difference of the flows between neighbouring maps, the stem included (Yim et al., 2017, eq. 2).
    Used in a first stage; it has no weight afterwards. Both networks need as many maps, of as many channels."""

    def __init__(self, student: list[Tensor], teacher: list[Tensor]):
        super().__init__()
        channels, teacher_channels = ([map.shape[1] for map in maps] for maps in (student, teacher))
        if channels != teacher_channels:
            given = f"the student's maps have {channels} channels, the teacher's {teacher_channels}"
            advice = "they must be equal; choose another pair or another method"
            raise ValueError(f"{given}: fsp compares channel by channel, so {advice}")
        pair_stages(student, teacher)  # there are two maps at least

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        pairs = zip(starmap(flow, pairwise(student)), starmap(flow, pairwise(teacher)), strict=True)
        return sum((student_flow - teacher_flow.detach()).pow(2).mean() for student_flow, teacher_flow in pairs)

    def stage(self) -> Stage:
        return Stage(self, learning_rate=0.05)
