"""Knowledge distillation on softened class probabilities (Hinton, Vinyals and Dean, arXiv:1503.02531)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_utils.losses.method import loss_of, unsized
from dcd_utils.losses.shared import check_logits, check_temperature


@loss_of(
    "kd", unsized, reads="logits", weight=0.9, classification=0.1, beside=1.0,
    source="Hinton, Vinyals and Dean, 2015, arXiv:1503.02531",
)
class KDLoss(nn.Module):
    """T^2 * KL(teacher || student) of class probabilities softened by T, mean over the batch (arXiv:1503.02531).

    T^2 keeps the gradient's size comparable with that of the labels' loss. Called with student logits [B, C] and
    teacher logits [B, C], it returns a scalar. Raises ValueError if these shapes differ, or T is not above 0.
    """

    def __init__(self, temperature: float = 4.0):
        super().__init__()
        check_temperature(temperature)
        self.temperature = temperature

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        check_logits(student_logits, teacher_logits)
        with torch.autocast(student_logits.device.type, enabled=False):
            wide = torch.promote_types(student_logits.dtype, torch.float32)
            log_student = F.log_softmax(student_logits.to(wide) / self.temperature, dim=1)
            log_teacher = F.log_softmax(teacher_logits.detach().to(wide) / self.temperature, dim=1)
            return self.temperature**2 * F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
