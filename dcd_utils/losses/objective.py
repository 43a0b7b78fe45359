"""What a student minimises: a weighted sum of losses, each of which names the part of the features that it reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_utils.losses.dcd import DCDLoss
from dcd_utils.losses.kd import KDLoss


@dataclass(frozen=True)
class Method:
    """How a method enters the objective.

    Args:
        build: (student features, teacher features, **options) -> the loss module; features are an example batch.
        reads: the field of Features that the loss is called with ("logits", "pooled" or "maps").
        classification: gamma, the weight of the labels' cross-entropy when the method stands alone.
        weight: the weight of the method's own loss.
    """

    build: Callable[..., nn.Module]
    reads: str
    classification: float
    weight: float


METHODS = {
    "kd": Method(lambda student, teacher, **options: KDLoss(**options), "logits", classification=0.1, weight=0.9),
    "dcd": Method(
        lambda student, teacher, **options: DCDLoss(student.pooled.shape[1], teacher.pooled.shape[1], **options),
        "pooled",
        classification=1.0,
        weight=1.0,
    ),
}


def names() -> list[str]:
    """The methods that exist. "+kd" may follow any of them but "kd"."""
    return list(METHODS)


class Objective(nn.Module):
    """total = gamma * CE(labels) + sum over losses of weight * loss (arXiv:2407.11802, section 3).

    Args:
        classification: gamma, the weight of the labels' cross-entropy.
        losses: name -> (weight, what it reads, loss module).

    Called with (student features, teacher features or None, labels [B]) it returns (total, terms): the scalar to
    minimise and a dict of detached scalars, one per loss before weighting, with the parts that a loss reports.
    """

    def __init__(self, classification: float = 1.0, losses: dict[str, tuple[float, str, nn.Module]] | None = None):
        super().__init__()
        losses = losses or {}
        self.weights = {"classification": classification, **{name: weight for name, (weight, _, _) in losses.items()}}
        self.reads = {name: reads for name, (_, reads, _) in losses.items()}
        self.losses = nn.ModuleDict({name: loss for name, (_, _, loss) in losses.items()})

    def forward(self, student: Any, teacher: Any, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        classification = F.cross_entropy(
            student.logits.to(torch.promote_types(student.logits.dtype, torch.float32)), labels
        )
        total = self.weights["classification"] * classification
        terms = {"classification": classification.detach()}
        for name, loss in self.losses.items():
            value = loss(getattr(student, self.reads[name]), getattr(teacher, self.reads[name]))
            total = total + self.weights[name] * value
            terms[name] = value.detach()
            terms.update(getattr(loss, "terms", {}))
        return total, terms


def parse(method: str) -> list[str]:
    """The parts of a method's name: "dcd+kd" -> ["dcd", "kd"].

    Raises:
        ValueError: an unknown part, a part named twice, or something other than "kd" behind the plus.
    """
    parts = method.lower().split("+") if isinstance(method, str) else [method]
    if (
        any(part not in METHODS for part in parts)
        or len(parts) > 2
        or (len(parts) == 2 and (parts[1] != "kd" or parts[0] == "kd"))
    ):
        raise ValueError(
            f'method "{method}" does not exist: choose one of {", ".join(METHODS)}; "+kd" may follow any but kd'
        )
    return parts


def objective(method: str, student: Any, teacher: Any, weights: dict[str, float] | None = None, **options) -> Objective:
    """The objective of a method for a pair of networks.

    Args:
        method: "kd", "dcd", or "dcd+kd".
        student, teacher: Features of an example batch; only their shapes are read.
        weights: replaces default weights, for instance {"classification": 1.0, "dcd": 2.0}.
        **options: settings of the method's own loss, for instance alpha=0.25 for dcd, temperature=2.0 for kd.

    Raises:
        ValueError: unknown method, or a weight for a term that the method does not have.
        TypeError: an option that the method's loss does not have.
    """
    first, *rest = parse(method)
    own = METHODS[first]
    losses = {first: (own.weight, own.reads, own.build(student, teacher, **options))}
    # behind a plus both terms stand beside the full classification loss: gamma = lambda = 1, as DCD+KD is published
    classification = 1.0 if rest else own.classification
    losses.update({part: (1.0, METHODS[part].reads, METHODS[part].build(student, teacher)) for part in rest})
    for name, weight in (weights or {}).items():
        if name != "classification" and name not in losses:
            raise ValueError(
                f'weight for "{name}" was given, but {method} has the terms classification, {", ".join(losses)}'
            )
        if name == "classification":
            classification = weight
        else:
            losses[name] = (weight, *losses[name][1:])
    return Objective(classification, losses)
