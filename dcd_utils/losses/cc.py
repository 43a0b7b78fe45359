"""Correlation congruence (Peng et al., 2019, arXiv:1904.01802)."""

from __future__ import annotations

from torch import Tensor, nn

from dcd_utils.losses.method import Method, register


class CCLoss(nn.Module):
    """Products of neighbours' differences, in the form that the published tables were made with.

    Both features pass a trained linear map; delta_i = |student_i - teacher_i|; the loss is the mean over i of
    <delta_i, delta_{i+1}>. This is not the paper's equation 4, which compares B x B correlation matrices of a kernel:
    the public code replaced it, and the published figures are of that code.

    Args:
        student_dim, teacher_dim: widths of the penultimate features.
        embed_dim: width of the common embedding.

    Called with [B, student_dim] and [B, teacher_dim] it returns a scalar.
    """

    def __init__(self, student_dim: int, teacher_dim: int, embed_dim: int = 128):
        super().__init__()
        self.embed_student = nn.Linear(student_dim, embed_dim)
        self.embed_teacher = nn.Linear(teacher_dim, embed_dim)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        delta = (self.embed_student(student) - self.embed_teacher(teacher.detach())).abs()
        return (delta[:-1] * delta[1:]).sum(dim=1).mean()


register(
    Method(
        "cc",
        build=lambda student, teacher, **options: CCLoss(student.pooled.shape[1], teacher.pooled.shape[1], **options),
        reads="pooled",
        weight=0.02,
        source="Peng et al., 2019, arXiv:1904.01802",
    )
)
