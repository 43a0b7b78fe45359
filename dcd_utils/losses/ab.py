"""Activation boundaries (Heo et al., 2019, arXiv:1811.03233)."""

import torch
from torch import Tensor, nn

from dcd_utils.losses.fitnet import Regressor
from dcd_utils.losses.method import Stage, loss_of, sized_by_maps
from dcd_utils.losses.shared import Loss, check, pair_stages


@loss_of("ab", sized_by_maps, "maps", spans="image", weight=0.0, source="Heo et al., 2019, arXiv:1811.03233")
class ABLoss(Loss):
    """The student's activations on the wrong side of zero, or closer to it than a margin (arXiv:1811.03233, eq. 4).

    Where the teacher is active the student should be above the margin, elsewhere below minus the margin; what is
    missing counts squared. Summed over a map, over B; each stage counts twice the one before; times 3/1000, as
    published. The loss is used in a first stage, on maps before their ReLU, and has no weight afterwards.
    """

    def __init__(self, student: list[Tensor], teacher: list[Tensor], margin: float = 1.0):
        super().__init__()
        check("a finite number of at least 0", margin=margin)
        self.connectors = nn.ModuleList(
            nn.Identity() if s.shape[1:] == t.shape[1:] else Regressor(s, t, relu=False)
            for s, t in pair_stages(student, teacher)
        )
        self.margin = margin

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        total, pairs = 0.0, pair_stages(student, teacher)
        for index, (connector, (student_map, teacher_map)) in enumerate(zip(self.connectors, pairs, strict=True)):
            mapped = connector(student_map)
            missing = torch.where(teacher_map > 0, self.margin - mapped, self.margin + mapped).clamp(min=0)
            total = total + 2.0 ** (index + 1 - len(pairs)) * 3 / 1000 * (missing.pow(2).sum() / len(mapped))
        return total

    def stage(self) -> Stage:
        return Stage(self, learning_rate=0.05, preactivation=True)
