"""Discriminative and consistent distillation: the loss of arXiv:2407.11802, written once."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_utils.distributed import first_row, gathered
from dcd_utils.losses.method import loss_of, sized_by_pooled
from dcd_utils.losses.shared import EmbeddingLoss, check


def dcd_terms(
    student_embeddings: Tensor, teacher_embeddings: Tensor, scale: Tensor | float, bias: Tensor | float,
    masked: Tensor | None = None,
):
    """The contrastive and the consistency term of a batch (arXiv:2407.11802, section 3).

    Scores s_ij = scale * <z_S,i , z_T,j> + bias. With p_i = softmax over row i (student i against all teachers) and
    q_i = softmax over column i (teacher i against all students):
    contrast = -mean_i log p_ii, consistency = mean_i KL(q_i || p_i). Gradient flows through p and through q.

    Args:
        student_embeddings, teacher_embeddings: [B, D], rows of unit length, row i of both from the same image.
        scale: inverse temperature, a scalar.
        bias: added to every score, a scalar. Both softmaxes are shift-invariant, so the terms do not depend on it.
        masked: bool [B, B], symmetric, its diagonal False: pairs that both softmaxes leave out.

    Returns (contrast, consistency): two scalars, both at least 0. Raises ValueError unless both are [B, D] and B >= 2.
    Where several processes train, each passes its own rows (of `masked`, too), and has the mean over these, against the
    embeddings of all: the negatives are those of the whole batch, whatever the number of processes.
    """
    if student_embeddings.ndim != 2 or student_embeddings.shape != teacher_embeddings.shape:
        given = f"student embeddings are {tuple(student_embeddings.shape)}, teacher embeddings "
        raise ValueError(f"{given}{tuple(teacher_embeddings.shape)}: both must be [B, D] of the same B and D")
    students, teachers = gathered(student_embeddings), gathered(teacher_embeddings)
    if len(students) < 2:
        raise ValueError(f"a batch of {len(students)} was given: DCD contrasts its images, pass at least 2")
    scores = scale * student_embeddings @ teachers.T + bias
    whole = students is student_embeddings
    by_teacher = scores.T if whole else scale * teacher_embeddings @ students.T + bias  # row i: teacher i, all students
    if masked is not None:
        scores, by_teacher = (rows.masked_fill(masked, -1e9) for rows in (scores, by_teacher))  # 0 * inf: no number
    log_p, log_q = F.log_softmax(scores, dim=1), F.log_softmax(by_teacher, dim=1)
    contrast = -log_p.diagonal(first_row(scores)).mean()
    return contrast, (log_q.exp() * (log_q - log_p)).sum(dim=1).mean()


@loss_of("dcd", sized_by_pooled, "pooled", spans="rows", weight=1.0, needs=("labels",),
         source="Giakoumoglou and Stathaki, 2024, arXiv:2407.11802")  # fmt: skip
class DCDLoss(EmbeddingLoss):
    """Discriminative and consistent distillation loss: contrast + alpha * consistency (arXiv:2407.11802, section 3).

    Both networks' features are embedded (`embed`); `dcd_terms` scores every student against every teacher of the batch.
    The scale is exp(log_scale), clamped to [0, max_scale]; log_scale starts at 1 and, like the bias and both maps, is
    trained with the student. The detached parts of the last call stay in `terms`.

    Args:
        student_dim, teacher_dim, embed_dim: widths of the pooled features, and of the common embedding.
        alpha: weight of the consistency term.
        max_scale: cap of the scale; above it the scale's gradient is zero.
        contrast: weight of the contrastive term. This and what follows is for ablations of the published loss.
        learn_scale, learn_bias, learn_teacher_map: whether log_scale, the bias and the teacher's linear map are
            trained, or stay as they start.
        mask_classmates: leave out negatives of the image's own class; the loss then needs `labels`.
        negatives: contrast each image with so many others, an even number: half of them before it in the batch, half
            behind it, round its end. None: with all.

    Called with features [B, student_dim] and [B, teacher_dim], and labels [B] if it needs them. B < 2 is a ValueError.
    """

    def __init__(
        self, student_dim: int, teacher_dim: int, embed_dim: int = 128, alpha: float = 0.5, max_scale: float = 10.0, *,
        contrast: float = 1.0, learn_scale: bool = True, learn_bias: bool = True, learn_teacher_map: bool = True,
        mask_classmates: bool = False, negatives: int | None = None,
    ):
        super().__init__(student_dim, teacher_dim, embed_dim)
        check("a finite number of at least 0", alpha=alpha, contrast=contrast)
        if max_scale != float("inf"):
            check("a finite number above 0", max_scale=max_scale)
        check("True or False", learn_scale=learn_scale, learn_bias=learn_bias, learn_teacher_map=learn_teacher_map)
        check("True or False", mask_classmates=mask_classmates)
        if negatives is not None:
            check("an even number above 0, or None for all", negatives=negatives)
        self.embed_teacher.requires_grad_(learn_teacher_map)
        self.log_scale = nn.Parameter(torch.tensor(1.0), requires_grad=learn_scale)
        self.bias = nn.Parameter(torch.tensor(0.0), requires_grad=learn_bias)
        self.alpha, self.contrast, self.max_scale = alpha, contrast, max_scale
        self.mask_classmates, self.negatives = mask_classmates, negatives
        self.terms: dict[str, Tensor] = {}

    @property
    def scale(self) -> Tensor:
        """The inverse temperature in use: clamp(exp(log_scale), 0, max_scale), a scalar."""
        return self.log_scale.exp().clamp(0.0, self.max_scale)

    def forward(self, student_features: Tensor, teacher_features: Tensor, labels: Tensor | None = None) -> Tensor:
        student, teacher = self.embed(student_features, teacher_features)
        scale, masked = self.scale, None
        rows = torch.arange(len(student), device=student.device) + first_row(student)
        own, places = rows[:, None], gathered(rows)
        if self.negatives is not None:
            masked = torch.minimum((places - own) % len(places), (own - places) % len(places)) > self.negatives // 2
        if self.mask_classmates:
            if labels is None or labels.shape != student.shape[:1]:
                raise ValueError(f"mask_classmates needs the labels of the {len(student)} images, one for each")
            classmates = (labels[:, None] == gathered(labels)) & (own != places)
            masked = classmates if masked is None else masked | classmates
        contrast, consistency = dcd_terms(student, teacher, scale, self.bias, masked)
        terms = {"contrast": contrast, "consistency": consistency, "scale": scale, "bias": self.bias.clone()}
        self.terms = {name: term.detach() for name, term in terms.items()}
        return self.contrast * contrast + self.alpha * consistency
