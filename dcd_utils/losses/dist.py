"""DIST: relations instead of probabilities (Huang et al., 2022, arXiv:2205.10536)."""

from torch import Tensor

from dcd_utils.losses.method import loss_of, unsized
from dcd_utils.losses.shared import Loss, check, check_logits


def spread(rows: Tensor) -> Tensor:
    """Rows of probabilities, centred and at unit length. Nearly constant ones, as of a network that has not begun to
    tell classes apart, stay shorter, so that the gradient keeps its size."""
    centred = rows - rows.mean(dim=1, keepdim=True)
    # relative, since a sure network's rows may be short; 1e-8 only guards the division
    least = (5e-3 * rows.detach().norm(dim=1, keepdim=True)).clamp(min=1e-8)
    return centred / centred.norm(dim=1, keepdim=True).maximum(least)


def correlation_distance(first: Tensor, second: Tensor) -> Tensor:
    """1 - Pearson correlation of matching rows, mean over the rows: a scalar."""
    return 1 - (spread(first) * spread(second)).sum(dim=1).mean()


@loss_of("dist", unsized, "logits", weight=1.0, beside=1.0, source="Huang et al., 2022, arXiv:2205.10536")
class DISTLoss(Loss):
    """How far class probabilities correlate: within each image, and within each class (arXiv:2205.10536, eqs. 6 to 9).

    T^2 * (inter * distance of the rows + intra * distance of the columns) of both networks' softened probabilities.
    `inter` and `intra` are beta and gamma of the paper; T is 4 on CIFAR-100, 1 on ImageNet. Two numbers always
    correlate by 1 or -1, so with two classes `inter` must be 0.
    """

    def __init__(self, inter: float = 2.0, intra: float = 2.0, temperature: float = 4.0):
        super().__init__()
        check("a finite number above 0", temperature=temperature)
        check("a finite number of at least 0", inter=inter, intra=intra)
        self.inter, self.intra, self.temperature = inter, intra, temperature

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        check_logits(student, teacher, fewest=3 if self.inter else 2)
        p, q = ((logits / self.temperature).softmax(dim=1) for logits in (student, teacher.detach()))
        distance = self.inter * correlation_distance(p, q) + self.intra * correlation_distance(p.T, q.T)
        return self.temperature**2 * distance
