"""What several losses share: checks of settings and logits, types, unit vectors, linear maps, and pairs of maps."""

import math
from numbers import Integral, Real

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_RULES = {
    "a finite number above 0": lambda value: value > 0,
    "a finite number of at least 0": lambda value: value >= 0,
    "a number between 0 and 1": lambda value: 0 <= value <= 1,
    "a whole number of at least 1": lambda value: isinstance(value, Integral) and value >= 1,
    "an even number above 0, or None for all": lambda value: value > 0 and value % 2 == 0,
}


def check(expected: str, **settings: object) -> None:
    """Raise ValueError unless every setting is what is `expected`: "True or False", or one of the rules above."""
    for name, value in settings.items():
        switch = isinstance(value, bool)
        finite = isinstance(value, Real) and not switch and math.isfinite(value)
        if not (switch if expected == "True or False" else finite and _RULES[expected](value)):
            raise ValueError(f"{name}={value!r} was given: it must be {expected}")


def check_logits(student: Tensor, teacher: Tensor, fewest: int = 1) -> None:
    """Raise ValueError unless both are [B, C] over the same C classes, at least `fewest` of them."""
    if student.ndim != 2 or student.shape != teacher.shape or student.shape[1] < fewest:
        given = f"student logits are {tuple(student.shape)}, teacher logits {tuple(teacher.shape)}"
        more = f", at least {fewest} (fewer hold nothing to compare: choose kd)" if fewest > 1 else ""
        raise ValueError(f"{given}: both must be [B, C] over the same C classes{more}")


def to_type(features: Tensor | list[Tensor], dtype: torch.dtype | None = None) -> Tensor | list[Tensor]:
    """Features in a type; None: each in its own, but float32 if that is narrower."""
    if isinstance(features, list):
        return [to_type(part, dtype) for part in features]
    return features.to(dtype or torch.promote_types(features.dtype, torch.float32))


class Loss(nn.Module):
    """Base of the losses: brings features of any type to that of the loss's layers (float32, or float64 after
    `double()`); without layers to the student's, float32 at least. Autocast does not reach in."""

    def __call__(self, student: Tensor | list[Tensor], teacher: Tensor | list[Tensor], *besides, **named) -> Tensor:
        first = to_type(student[0] if isinstance(student, list) else student)
        dtype = next((parameter.dtype for parameter in self.parameters()), first.dtype)
        with torch.autocast(first.device.type, enabled=False):
            return super().__call__(to_type(student, dtype), to_type(teacher, dtype), *besides, **named)


SHORTEST = 1e-8  # below the vectors of a network that works


def unit(vectors: Tensor, dim: int = 1, shortest: float = SHORTEST) -> Tensor:
    """Vectors along `dim` at unit length; those up to `shortest` (dead channels, the difference of equal images) have
    no direction: zeros, and no gradient instead of one that wrecks the network."""
    lengths = vectors.norm(dim=dim, keepdim=True)
    return torch.where(lengths > shortest, vectors, 0) / lengths.clamp(min=shortest)


class EmbeddingLoss(Loss):
    """Base of the losses that compare pooled features, student_dim and teacher_dim wide, behind a trained linear map
    for each network into one space, embed_dim wide."""

    def __init__(self, student_dim: int, teacher_dim: int, embed_dim: int = 128):
        check("a whole number of at least 1", student_dim=student_dim, teacher_dim=teacher_dim, embed_dim=embed_dim)
        super().__init__()
        self.embed_student = nn.Linear(student_dim, embed_dim)
        self.embed_teacher = nn.Linear(teacher_dim, embed_dim)

    def project(self, student_features: Tensor, teacher_features: Tensor) -> tuple[Tensor, Tensor]:
        """Both batches behind their linear maps, each [B, embed_dim]; autocast does not reach in."""
        projected = []
        for name, features in (("student", student_features), ("teacher", teacher_features.detach())):
            layer = getattr(self, f"embed_{name}")
            if features.ndim != 2 or features.shape[1] != layer.in_features:
                given = f"{name} features are {tuple(features.shape)}, expected [B, {layer.in_features}]"
                advice = f"build {type(self).__name__} with {name}_dim={[0, *features.shape][-1]}"
                raise ValueError(f"{given}: pass pooled features, or {advice}")
            with torch.autocast(features.device.type, enabled=False):
                projected.append(layer(features.to(layer.weight.dtype)))
        if len(projected[0]) != len(projected[1]):
            given = f"{len(projected[0])} student rows and {len(projected[1])} teacher rows were given"
            raise ValueError(f"{given}: row i of both must come from the same image")
        return tuple(projected)

    def embed(self, student_features: Tensor, teacher_features: Tensor) -> tuple[Tensor, Tensor]:
        """As `project`, then scaled to unit length: both batches on the common unit sphere."""
        return tuple(map(unit, self.project(student_features, teacher_features)))


def pair_stages(student: list[Tensor], teacher: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """(student map, teacher map without gradient) of each stage, not of the stem: the first with the first, and so on,
    as the published code pairs them; where one network has more, its last stages are left out."""
    if min(len(student), len(teacher)) < 2:
        given = f"the student shows {len(student)} maps, the teacher {len(teacher)}"
        advice = "choose one that reads logits or pooled features"
        raise ValueError(f"{given}: a method that compares stages needs at least two of each; {advice}")
    return [(s, t.detach()) for s, t in zip(student[1:], teacher[1:], strict=False)]


def same_size(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps at the smaller one's height and width: the larger is averaged down."""
    size = min(first.shape[2:], second.shape[2:])
    return tuple(map if map.shape[2:] == size else F.adaptive_avg_pool2d(map, size) for map in (first, second))
