"""Contrastive representation distillation (Tian, Krishnan and Isola, 2020, arXiv:1910.10699)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from dcd_utils.distributed import first_row, gathered, total
from dcd_utils.losses.method import loss_of, sized_by_pooled
from dcd_utils.losses.shared import EmbeddingLoss, check


@loss_of("crd", sized_by_pooled, "pooled", spans="rows", weight=0.8, needs=("indices",),
         source="Tian, Krishnan and Isola, 2020, arXiv:1910.10699")  # fmt: skip
class CRDLoss(EmbeddingLoss):
    """Tell an image's other embedding from those of other classes, with a memory bank (arXiv:1910.10699, eq. 17).

    Each network's embedding (`embed`) is scored against the other network's bank: exp(<z, bank_k> / temperature) over a
    constant fixed by the first batch. Noise-contrastive estimation against `negatives` images of other classes then
    gives the loss, both ways. The banks hold a running mean of unit length for every training image, `train_labels`
    [N] their classes, at least two; `momentum` is the share of an entry that stays when its image is seen.

    Negatives are drawn anew at every step, with replacement (the published code draws without, where the other classes
    have enough images), from a stream that belongs to the loss: its seed comes from PyTorch's generator when the loss
    is built, its position is part of the state dict. In eval mode banks and constants stay as they are.

    Called with indices= [B] of the training images as well, and optionally negatives= [B, K] (indices too, instead of
    drawn ones).
    """

    def __init__(
        self, student_dim: int, teacher_dim: int, train_labels: Tensor, embed_dim: int = 128, negatives: int = 16384,
        temperature: float = 0.07, momentum: float = 0.5,
    ):
        super().__init__(student_dim, teacher_dim, embed_dim)
        if len(train_labels.unique()) < 2:
            raise ValueError("the training images have one class only: crd takes its negatives from other classes")
        check("a whole number of at least 1", negatives=negatives)
        check("a finite number above 0", temperature=temperature)
        check("a number between 0 and 1", momentum=momentum)
        self.negatives, self.temperature, self.momentum = negatives, temperature, momentum
        bound = 1 / math.sqrt(embed_dim / 3)
        for name in ("student_bank", "teacher_bank"):
            self.register_buffer(name, torch.empty(len(train_labels), embed_dim).uniform_(-bound, bound))
        for name in ("student_constant", "teacher_constant"):
            self.register_buffer(name, torch.tensor(0.0))
        self.seed, self.step = int(torch.randint(2**40, ())), 0
        # sorted by class, the images of other classes are what remains when one block is jumped over
        counts = train_labels.bincount()
        self.register_buffer("labels", train_labels.clone(), persistent=False)
        self.register_buffer("by_class", train_labels.argsort(stable=True), persistent=False)
        self.register_buffer("counts", counts, persistent=False)
        self.register_buffer("starts", counts.cumsum(0) - counts, persistent=False)

    def get_extra_state(self) -> dict[str, int]:
        return {"seed": self.seed, "step": self.step}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.seed, self.step = state["seed"], state["step"]

    def draw(self, indices: Tensor) -> Tensor:
        """Indices [B, negatives] of training images of other classes than `indices` [B] have; advances the stream."""
        generator = torch.Generator(indices.device).manual_seed(self.seed + self.step)
        self.step += 1
        classes = self.labels[indices]
        same_class = self.counts[classes][:, None]
        uniform = torch.rand(len(indices), self.negatives, generator=generator, device=indices.device)
        others = len(self.labels) - same_class
        place = (uniform * others).long().clamp_(max=others.max() - 1).minimum(others - 1)
        return self.by_class[place + same_class * (place >= self.starts[classes][:, None])]

    def forward(
        self, student: Tensor, teacher: Tensor, indices: Tensor | None = None, negatives: Tensor | None = None
    ) -> Tensor:
        if indices is None:
            raise ValueError("crd was called without indices=: it must know which training images the batch holds")
        student, teacher = self.embed(student, teacher)
        if negatives is None:  # drawn for the whole batch, whatever part of it is here
            negatives = self.draw(gathered(indices))[first_row(indices) :][: len(indices)]
        candidates = torch.cat([indices[:, None], negatives], dim=1)
        by_student = self._estimate(student, self.teacher_bank, self.student_constant, candidates)
        by_teacher = self._estimate(teacher, self.student_bank, self.teacher_constant, candidates)
        if self.training:
            indices = gathered(indices)
            for bank, embeddings in ((self.student_bank, student), (self.teacher_bank, teacher)):
                embeddings = gathered(embeddings.detach())
                mixed = self.momentum * bank[indices] + (1 - self.momentum) * embeddings
                bank.index_copy_(0, indices, F.normalize(mixed).to(bank.dtype))
        return by_student + by_teacher

    def _estimate(self, embeddings: Tensor, bank: Tensor, constant: Tensor, candidates: Tensor) -> Tensor:
        """Noise-contrastive estimation: the first candidate of each row is the image itself."""
        images, negatives = len(bank), candidates.shape[1] - 1
        # scored against the whole bank and then picked: the numbers of gathered embeddings, with far less memory
        scores = (embeddings @ bank.clone().T).gather(1, candidates).div(self.temperature).exp()
        with torch.no_grad():
            divisor = torch.where(constant > 0, constant, total(scores) / total(torch.ones_like(scores)) * images)
            if self.training:
                constant.copy_(divisor)
        scores = scores / divisor
        noise, smallest = negatives / images, 1e-7
        positive = (scores[:, 0] / (scores[:, 0] + noise + smallest)).log().sum()
        negative = (noise / (scores[:, 1:] + noise + smallest)).log().sum()
        return -(positive + negative) / len(embeddings)
