"""Logit standardisation in knowledge distillation (Sun et al., 2024, arXiv:2403.01427)."""

from torch import Tensor, nn

from dcd_utils.losses.kd import KDLoss
from dcd_utils.losses.method import loss_of, unsized


def standardise(logits: Tensor) -> Tensor:
    """Logits of each image with mean 0 and standard deviation 1 (n - 1): [B, C]."""
    return (logits - logits.mean(dim=1, keepdim=True)) / (logits.std(dim=1, keepdim=True) + 1e-7)


@loss_of(
    "lskd", unsized, reads="logits", weight=9.0, classification=0.1, beside=9.0,
    source="Sun et al., 2024, arXiv:2403.01427",
)
class LSKDLoss(nn.Module):
    """KD on standardised logits: the student need not match the size of the teacher's (arXiv:2403.01427, eq. 10).

    The temperature is in units of each image's standard deviation.
    """

    def __init__(self, temperature: float = 2.0):
        super().__init__()
        self.kd = KDLoss(temperature)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return self.kd(standardise(student), standardise(teacher))
