"""Decoupled knowledge distillation (Zhao et al., 2022, arXiv:2203.08679)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dcd_utils.losses.method import loss_of, unsized
from dcd_utils.losses.shared import Loss, check, check_logits


@loss_of("dkd", unsized, "logits", spans="image", weight=1.0, beside=1.0, needs=("labels",),
         source="Zhao et al., 2022, arXiv:2203.08679")  # fmt: skip
class DKDLoss(Loss):
    """KD in two parts with weights of their own: how sure of the labelled class, and what of the others (eq. 7).

    T^2 * (target * KL of [p_label, 1 - p_label] + other * KL over the remaining classes), mean over the batch
    (arXiv:2203.08679, as alpha and beta). The published trainer raises the weight over its first 20 epochs, and chooses
    `other` by the pair (1 to 8); neither is done here. Called with labels= [B] as well; at least 3 classes.
    """

    def __init__(self, target: float = 1.0, other: float = 2.0, temperature: float = 4.0):
        super().__init__()
        check("a finite number above 0", temperature=temperature)
        check("a finite number of at least 0", target=target, other=other)
        self.target, self.other, self.temperature = target, other, temperature

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        check_logits(student, teacher, fewest=3)
        p, q = (_split(logits / self.temperature, labels) for logits in (student, teacher.detach()))
        sure, rest = (F.kl_div(*logs, reduction="batchmean", log_target=True) for logs in zip(p, q, strict=True))
        return self.temperature**2 * (self.target * sure + self.other * rest)


def _split(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of (label, not label) [B, 2], and of the other classes among themselves [B, C - 1]."""
    columns = torch.arange(logits.shape[1] - 1, device=logits.device).expand(len(logits), -1)
    # picked by number: a mask would make the host wait for the device, to learn how much it picks
    others = logits.gather(1, columns + (columns >= labels[:, None]))
    label, rest = logits.gather(1, labels[:, None])[:, 0], others.logsumexp(dim=1)
    return torch.stack([label, rest], dim=1).log_softmax(dim=1), others.log_softmax(dim=1)
