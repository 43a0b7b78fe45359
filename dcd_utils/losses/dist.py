"""DIST: relations instead of probabilities (Huang et al., 2022, arXiv:2205.10536)."""

import torch.nn.functional as F
from torch import Tensor, nn

from dcd_utils.losses.method import loss_of, unsized
from dcd_utils.losses.shared import check_logits, check_temperature


def correlation_distance(first: Tensor, second: Tensor) -> Tensor:
    """1 - Pearson correlation of matching rows, mean over the rows: a scalar."""
    first, second = (rows - rows.mean(dim=1, keepdim=True) for rows in (first, second))
    # probabilities of a sure network leave little to correlate: eps only guards the division
    return 1 - F.cosine_similarity(first, second, dim=1, eps=1e-8).mean()


@loss_of("dist", unsized, reads="logits", weight=1.0, beside=1.0, source="Huang et al., 2022, arXiv:2205.10536")
class DISTLoss(nn.Module):
    """How far class probabilities correlate: within each image, and within each class (arXiv:2205.10536, eqs. 6 to 9).

    T^2 * (inter * distance of the rows + intra * distance of the columns) of both networks' softened probabilities.
    `inter` and `intra` are beta and gamma of the paper; T is 4 on CIFAR-100, 1 on ImageNet.
    """

    def __init__(self, inter: float = 2.0, intra: float = 2.0, temperature: float = 4.0):
        super().__init__()
        check_temperature(temperature)
        self.inter, self.intra, self.temperature = inter, intra, temperature

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        check_logits(student, teacher)
        p, q = ((logits / self.temperature).softmax(dim=1) for logits in (student, teacher.detach()))
        distance = self.inter * correlation_distance(p, q) + self.intra * correlation_distance(p.T, q.T)
        return self.temperature**2 * distance
