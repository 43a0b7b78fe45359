"""Logit standardisation in knowledge distillation (Sun et al., 2024, arXiv:2403.01427)."""

from torch import Tensor

from dcd_utils.losses.kd import KDLoss
from dcd_utils.losses.method import loss_of, unsized
from dcd_utils.losses.shared import Loss, check_logits


def standardise(logits: Tensor) -> Tensor:
    """Logits of each image with mean 0 and standard deviation 1 (n - 1): [B, C]. Below 0.05, where a network has not
    begun to tell classes apart, the deviation stays smaller, so that the gradient keeps its size."""
    return (logits - logits.mean(dim=1, keepdim=True)) / (logits.std(dim=1, keepdim=True).clamp(min=0.05) + 1e-7)


@loss_of("lskd", unsized, "logits", spans="image", weight=9.0, classification=0.1, beside=9.0,
         source="Sun et al., 2024, arXiv:2403.01427")  # fmt: skip
class LSKDLoss(Loss):
    """KD on standardised logits: the student need not match the size of the teacher's (arXiv:2403.01427, eq. 10). The
    temperature is in units of each image's standard deviation. Fewer than 3 classes are refused: standardised, two
    logits are always the same."""

    def __init__(self, temperature: float = 2.0):
        super().__init__()
        self.kd = KDLoss(temperature)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        check_logits(student, teacher, fewest=3)
        return self.kd(standardise(student), standardise(teacher))
