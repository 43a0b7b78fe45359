"""What several losses share: checks of logits, linear maps of pooled features, and pairs of maps."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f"temperature={temperature} was given: it must be above 0 (4 is usual)")


def check_logits(student: Tensor, teacher: Tensor, fewest: int = 1) -> None:
    """Raise ValueError unless both are [B, C] over the same C classes, at least `fewest` of them."""
    if student.ndim != 2 or student.shape != teacher.shape or student.shape[1] < fewest:
        raise ValueError(
            f"student logits are {tuple(student.shape)}, teacher logits {tuple(teacher.shape)}: both must be [B, C] "
            f"over the same C classes{f', at least {fewest}' if fewest > 1 else ''}"
        )


class EmbeddingLoss(nn.Module):
    """Base of the losses that compare pooled features, student_dim and teacher_dim wide, behind a trained linear map
    for each network into one space, embed_dim wide."""

    def __init__(self, student_dim: int, teacher_dim: int, embed_dim: int = 128):
        super().__init__()
        self.embed_student = nn.Linear(student_dim, embed_dim)
        self.embed_teacher = nn.Linear(teacher_dim, embed_dim)

    def project(self, student_features: Tensor, teacher_features: Tensor) -> tuple[Tensor, Tensor]:
        """Both batches behind their linear maps, each [B, embed_dim]; autocast does not reach in."""
        for name, features in (("student", student_features), ("teacher", teacher_features)):
            layer = getattr(self, f"embed_{name}")
            if features.ndim != 2 or features.shape[1] != layer.in_features:
                raise ValueError(
                    f"{name} features are {tuple(features.shape)}, expected [B, {layer.in_features}]: pass pooled "
                    f"features, or build {type(self).__name__} with {name}_dim={[0, *features.shape][-1]}"
                )
        if len(student_features) != len(teacher_features):
            raise ValueError(
                f"{len(student_features)} student rows and {len(teacher_features)} teacher rows were given: "
                "row i of both must come from the same image"
            )
        dtype = self.embed_student.weight.dtype
        with torch.autocast(student_features.device.type, enabled=False):
            student, teacher = student_features.to(dtype), teacher_features.detach().to(dtype)
            return self.embed_student(student), self.embed_teacher(teacher)

    def embed(self, student_features: Tensor, teacher_features: Tensor) -> tuple[Tensor, Tensor]:
        """As `project`, then scaled to unit length: both batches on the common unit sphere."""
        student, teacher = self.project(student_features, teacher_features)
        return F.normalize(student), F.normalize(teacher)


def pair_stages(student: list[Tensor], teacher: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """(student map, teacher map without gradient) of each stage, not of the stem: the first with the first, and so on,
    as the published code pairs them; where one network has more, its last stages are left out."""
    count = min(len(student), len(teacher)) - 1
    if count < 1:
        raise ValueError(
            f"the student shows {len(student)} maps, the teacher {len(teacher)}: a method that compares stages needs "
            "at least two of each; choose one that reads logits or pooled features"
        )
    return [(s, t.detach()) for s, t in zip(student[1:], teacher[1:], strict=False)]


def same_size(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps at the smaller one's height and width: the larger is averaged down."""
    size = min(first.shape[2:], second.shape[2:])
    return tuple(map if map.shape[2:] == size else F.adaptive_avg_pool2d(map, size) for map in (first, second))
