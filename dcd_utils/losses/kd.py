"""Knowledge distillation on softened class probabilities (Hinton, Vinyals and Dean, arXiv:1503.02531)."""

import torch.nn.functional as F
from torch import Tensor

from dcd_utils.losses.method import loss_of, unsized
from dcd_utils.losses.shared import Loss, check, check_logits


@loss_of("kd", unsized, "logits", spans="image", weight=0.9, classification=0.1, beside=1.0,
         source="Hinton, Vinyals and Dean, 2015, arXiv:1503.02531")  # fmt: skip
class KDLoss(Loss):
    """T^2 * KL(teacher || student) of class probabilities softened by T, mean over the batch (arXiv:1503.02531). T^2
    keeps the gradient's size comparable with that of the labels' loss."""

    def __init__(self, temperature: float = 4.0):
        super().__init__()
        check("a finite number above 0", temperature=temperature)
        self.temperature = temperature

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        check_logits(student_logits, teacher_logits)
        log_student = F.log_softmax(student_logits / self.temperature, dim=1)
        log_teacher = F.log_softmax(teacher_logits.detach() / self.temperature, dim=1)
        return self.temperature**2 * F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
