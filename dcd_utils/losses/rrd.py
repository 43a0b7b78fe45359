"""Relational representation distillation (Giakoumoglou and Stathaki, 2024, arXiv:2407.12073)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dcd_utils.distributed import gathered
from dcd_utils.losses.method import loss_of, sized_by_pooled
from dcd_utils.losses.shared import EmbeddingLoss, check


@loss_of("rrd", sized_by_pooled, "pooled", spans="rows", weight=1.0,
         source="Giakoumoglou and Stathaki, 2024, arXiv:2407.12073")  # fmt: skip
class RRDLoss(EmbeddingLoss):
    """Cross-entropy between two views of a queue: how near its entries are to the teacher, and to the student.

    The teacher's embeddings (`embed`) enter the queue, the oldest leave; it has `queue_size` entries, at least as many
    as the batch, which stay as they are in eval mode. target = softmax(teacher . queue / teacher_temperature), loss =
    -mean_i sum_k target_ik log softmax(student . queue / temperature)_ik (arXiv:2407.12073, eq. 6). No gradient reaches
    the teacher's map: it stays as drawn (the optimiser passes over what has no gradient, weight decay and all). The
    authors' queue starts with normalised columns instead of rows and fails when its end is not met by a whole batch;
    this one starts with unit rows and wraps around.
    """

    def __init__(
        self, student_dim: int, teacher_dim: int, embed_dim: int = 128, queue_size: int = 16384,
        temperature: float = 0.1, teacher_temperature: float = 0.02,
    ):
        super().__init__(student_dim, teacher_dim, embed_dim)
        check("a whole number of at least 1", queue_size=queue_size)
        check("a finite number above 0", temperature=temperature, teacher_temperature=teacher_temperature)
        self.temperature, self.teacher_temperature = temperature, teacher_temperature
        self.register_buffer("queue", F.normalize(torch.empty(queue_size, embed_dim).normal_()))
        self.register_buffer("next", torch.zeros((), dtype=torch.int64))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = self.embed(student, teacher)
        teacher = teacher.detach()
        if self.training:
            everyone = gathered(teacher)
            size, batch = len(self.queue), len(everyone)
            if batch > size:
                raise ValueError(f"the queue holds {size} embeddings, the batch {batch}: pass a larger queue_size")
            places = (self.next + torch.arange(batch, device=self.queue.device)) % size
            self.queue.index_copy_(0, places, everyone.to(self.queue.dtype))
            self.next.add_(batch).remainder_(size)
        queue = self.queue.clone()
        target = (teacher @ queue.T / self.teacher_temperature).softmax(dim=1)
        return -(target * (student @ queue.T / self.temperature).log_softmax(dim=1)).sum(dim=1).mean()
