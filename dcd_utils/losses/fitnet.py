"""FitNets: hints from a middle layer (Romero et al., 2015, arXiv:1412.6550)."""

import torch.nn.functional as F
from torch import Tensor, nn

from dcd_utils.losses.method import loss_of, sized_by_maps
from dcd_utils.losses.shared import Loss, check, pair_stages


class Regressor(nn.Module):
    """A convolution and batch norm that give the student's map the teacher's shape, from an example map of each.

    The student's side may be half the teacher's, or equal to it or larger (unless it is twice as large, a window as
    large as the difference slides over it). `relu`: a ReLU follows, as for maps that come behind one.
    """

    def __init__(self, student: Tensor, teacher: Tensor, relu: bool = True):
        super().__init__()
        channels_in, height, width = student.shape[1:]
        channels, to_height, to_width = teacher.shape[1:]
        if (height, width) == (2 * to_height, 2 * to_width):
            self.conv = nn.Conv2d(channels_in, channels, 3, stride=2, padding=1)
        elif (2 * height, 2 * width) == (to_height, to_width):
            self.conv = nn.ConvTranspose2d(channels_in, channels, 4, stride=2, padding=1)
        elif height >= to_height and width >= to_width:
            self.conv = nn.Conv2d(channels_in, channels, (1 + height - to_height, 1 + width - to_width))
        else:
            given = f"the student's map is {height}x{width}, the teacher's {to_height}x{to_width}"
            raise ValueError(f"{given}: it must be half as large, as large, or larger")
        self.norm, self.activation = nn.BatchNorm2d(channels), nn.ReLU() if relu else nn.Identity()

    def forward(self, student: Tensor) -> Tensor:
        return self.activation(self.norm(self.conv(student)))


@loss_of("fitnet", sized_by_maps, "maps", spans="image", weight=100.0, source="Romero et al., 2015, arXiv:1412.6550")
class FitNetLoss(Loss):
    """Mean squared difference of the teacher's map and the student's, brought to its shape (arXiv:1412.6550, eq. 3).
    The paper trains up to the hint first; here, as in the tables, the hint (a stage, counted from 1, without the stem)
    stands beside the classification loss."""

    def __init__(self, student: list[Tensor], teacher: list[Tensor], hint: int = 2):
        super().__init__()
        check("a whole number of at least 1", hint=hint)
        pairs = pair_stages(student, teacher)
        if hint > len(pairs):
            raise ValueError(f"hint={hint} was given: the two networks share the stages 1 to {len(pairs)}")
        self.hint, self.regressor = hint, Regressor(*pairs[hint - 1])

    def forward(self, student: list[Tensor], teacher: list[Tensor]) -> Tensor:
        student_map, teacher_map = pair_stages(student, teacher)[self.hint - 1]
        return F.mse_loss(self.regressor(student_map), teacher_map)
