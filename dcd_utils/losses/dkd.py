"""Decoupled knowledge distillation (Zhao et al., 2022, arXiv:2203.08679)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_utils.losses.method import Method, register


class DKDLoss(nn.Module):
    """KD in two parts with weights of their own: how sure of the labelled class, and what of the others (eq. 7).

    T^2 * (target * KL of [p_label, 1 - p_label] + other * KL over the remaining classes), mean over the batch
    (arXiv:2203.08679). The published trainer raises the weight over its first 20 epochs, and chooses `other` by the
    pair (1 to 8); neither is done here.

    Args:
        target, other: alpha and beta of the paper.
        temperature: T.

    Called with student logits [B, C], teacher logits [B, C] and labels= [B] it returns a scalar.

    Raises:
        ValueError: the logits' shapes differ, or there are fewer than 3 classes (no others to compare).
    """

    def __init__(self, target: float = 1.0, other: float = 2.0, temperature: float = 4.0):
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature={temperature} was given: it must be above 0 (4 is usual)")
        self.target, self.other, self.temperature = target, other, temperature

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        if student.shape != teacher.shape or student.ndim != 2 or student.shape[1] < 3:
            raise ValueError(
                f"student logits are {tuple(student.shape)}, teacher logits {tuple(teacher.shape)}: both must be "
                "[B, C] over the same C classes, at least 3"
            )
        own, target = (_split(logits / self.temperature, labels) for logits in (student, teacher.detach()))
        sure, rest = (F.kl_div(p, q, reduction="batchmean", log_target=True) for p, q in zip(own, target, strict=True))
        return self.temperature**2 * (self.target * sure + self.other * rest)


def _split(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of (label, not label) [B, 2], and of the other classes among themselves [B, C - 1]."""
    columns = torch.arange(logits.shape[1] - 1, device=logits.device).expand(len(logits), -1)
    # picked by number: a mask would make the host wait for the device, to learn how much it picks
    others = logits.gather(1, columns + (columns >= labels[:, None]))
    label, rest = logits.gather(1, labels[:, None])[:, 0], others.logsumexp(dim=1)
    return torch.stack([label, rest], dim=1).log_softmax(dim=1), others.log_softmax(dim=1)


register(
    Method(
        "dkd",
        build=lambda student, teacher, **options: DKDLoss(**options),
        reads="logits",
        weight=1.0,
        beside=1.0,
        needs=("labels",),
        source="Zhao et al., 2022, arXiv:2203.08679",
    )
)
