"""Correlation congruence (Peng et al., 2019, arXiv:1904.01802)."""

from torch import Tensor

from dcd_utils.losses.method import loss_of, sized_by_pooled
from dcd_utils.losses.shared import EmbeddingLoss


@loss_of("cc", sized_by_pooled, "pooled", weight=0.02, source="Peng et al., 2019, arXiv:1904.01802")
class CCLoss(EmbeddingLoss):
    """Products of neighbours' differences, in the form that the published tables were made with.

    Both features pass a trained linear map; delta_i = |student_i - teacher_i|; the loss is the mean over i of
    <delta_i, delta_{i+1}>. This is not the paper's equation 4, which compares B x B correlation matrices of a kernel:
    the public code replaced it, and the published figures are of that code. Args: see EmbeddingLoss.
    """

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = self.project(student, teacher)
        delta = (student - teacher).abs()
        return (delta[:-1] * delta[1:]).sum(dim=1).mean()
