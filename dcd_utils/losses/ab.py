"""Activation boundaries (Heo et al., 2019, arXiv:1811.03233)."""

from torch import Tensor, nn

from dcd_utils.losses.fitnet import Regressor
from dcd_utils.losses.method import Method, Stage, register, sized_by_maps
from dcd_utils.losses.shared import pair_stages


class ABLoss(nn.Module):
    """The student's activations on the wrong side of zero, or closer to it than a margin (arXiv:1811.03233, eq. 4).

    Where the teacher is active the student should be above the margin, elsewhere below minus the margin; what is
    missing counts squared. Summed over a map, over B; each stage counts twice the one before; times 3/1000, as
    published. The loss is used in a first stage, on maps before their ReLU, and has no weight afterwards.

    Built from example maps, two lists of [B, channels, height, width], and called with two such lists, it returns a
    scalar. Raises ValueError if the maps cannot be matched.
    """

    def __init__(self, student: list[Tensor], teacher: list[Tensor], margin: float = 1.0):
        super().__init__()
        self.connectors = nn.ModuleList(
            nn.Identity() if s.shape[1:] == t.shape[1:] else Regressor(s, t, relu=False)
            for s, t in pair_stages(student, teacher)
        )
        self.margin = margin

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        total = 0.0
        pairs = pair_stages(student, teacher)
        for index, (connector, (student_map, teacher_map)) in enumerate(zip(self.connectors, pairs, strict=True)):
            mapped, active = connector(student_map), teacher_map.detach() > 0
            below = (self.margin - mapped).clamp(min=0) * active
            above = (mapped + self.margin).clamp(min=0) * ~active
            missing = (below.pow(2) + above.pow(2)).sum() / len(mapped)
            total = total + 2.0 ** (index + 1 - len(pairs)) * 3 / 1000 * missing
        return total

    def stage(self) -> Stage:
        return Stage(self, learning_rate=0.05, preactivation=True)


register(Method("ab", sized_by_maps(ABLoss), reads="maps", weight=0.0, source="Heo et al., 2019, arXiv:1811.03233"))
