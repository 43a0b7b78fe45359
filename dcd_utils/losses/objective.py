"""What a student minimises: a weighted sum of losses, each of which names the part of the features that it reads."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_utils import distributed
from dcd_utils.losses.method import METHODS, Stage, parse
from dcd_utils.losses.shared import check, pair_stages, to_type


class Objective(nn.Module):
    """total = gamma * CE(labels) + sum over losses of weight * loss (arXiv:2407.11802, section 3).

    Losses are given float32 or wider, outside autocast; a loss of weight zero is left out. Weights that are no number
    of at least 0, or all 0, are a ValueError.

    Args:
        classification: gamma, the weight of the labels' cross-entropy.
        losses: name -> (weight, what it reads, loss module), or with a fourth entry, what it needs besides.

    Called with (student features, teacher features or None, labels [B], indices [B] or None) it returns the scalar to
    minimise and a dict of detached scalars: each loss before weighting, and the parts that a loss reports. In one of
    several processes it is called with that one's images; over the processes, the mean of what it returns, weighted by
    their images, is the value for the whole batch, and so is the gradient.
    """

    def __init__(self, classification: float = 1.0, losses: dict[str, tuple] | None = None):
        super().__init__()
        self.weights, self.reads, self.needs = {"classification": classification}, {}, {}
        self.losses = nn.ModuleDict()
        for name, (weight, reads, loss, *needs) in (losses or {}).items():
            self.weights[name], self.reads[name], self.losses[name] = weight, reads, loss
            self.needs[name] = needs[0] if needs else ()
        for name, weight in self.weights.items():
            check("a finite number of at least 0", **{f'the weight of "{name}"': weight})
        if not any(self.weights.values()):
            raise ValueError(f"the weights of {', '.join(self.weights)} are all 0: there is nothing to learn")

    @property
    def reads_maps(self) -> bool:
        """Whether any loss in use compares maps."""
        return any(reads == "maps" and self.weights[name] for name, reads in self.reads.items())

    def forward(self, student: Any, teacher: Any, labels: Tensor, indices: Tensor | None = None) -> tuple[Tensor, dict]:
        extra = {"labels": labels, "indices": indices}
        with torch.autocast(labels.device.type, enabled=False):
            classification = F.cross_entropy(to_type(student.logits), labels)
            terms = {"classification": classification.detach()}
            # at weight zero the classifier gets no gradient at all, not a gradient of zeros that weight decay acts on
            total = self.weights["classification"] * classification if self.weights["classification"] else 0.0
            for name, loss in self.losses.items():
                if not self.weights[name]:
                    continue
                inputs = [to_type(getattr(features, self.reads[name])) for features in (student, teacher)]
                besides = {need: extra[need] for need in self.needs[name]}
                if name not in METHODS or METHODS[name].spans == "batch":  # of all processes
                    inputs = [_gathered(part) for part in inputs]
                    besides = {need: _gathered(part) for need, part in besides.items()}
                value = loss(*inputs, **besides)
                total = total + self.weights[name] * value
                terms[name] = value.detach()
                terms.update(getattr(loss, "terms", {}))
        return total, terms

    def stage(self) -> "tuple[Objective, Stage] | None":
        """The training that comes first, with its own objective; None for all but a few methods."""
        for name, loss in self.losses.items():
            if hasattr(loss, "stage"):
                stage = loss.stage()
                return Objective(0.0, {name: (1.0, self.reads[name], stage.loss)}), stage
        return None


def _gathered(part: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
    return [distributed.gathered(map) for map in part] if isinstance(part, list) else distributed.gathered(part)


def default_weights(method: str) -> dict[str, float]:
    """The weight of each term of a method as published, for instance {"classification": 0.1, "kd": 0.9} for "kd".
    Behind a plus both stand beside the full classification loss, as published. An unknown method is a ValueError."""
    first, *rest = parse(method)
    weights = {"classification": 1.0 if rest else METHODS[first].classification, first: METHODS[first].weight}
    return weights | {name: METHODS[name].beside for name in rest}


def objective(
    method: str, student: Any, teacher: Any, weights: dict[str, float] | None = None,
    train_labels: Tensor | None = None, **options,
) -> Objective:
    """The objective of a method for a pair of networks.

    Args:
        method: one of `names()`; behind a plus one of `followers()`, for instance "dcd+kd".
        student, teacher: Features of an example batch; only their shapes are read.
        weights: replaces default weights, for instance {"classification": 1.0, "dcd": 2.0}.
        train_labels: [N], for methods that remember training images (crd).
        **options: settings of the method's own loss, for instance alpha=0.25 for dcd, temperature=2.0 for kd.

    Raises ValueError for an unknown method, a weight for a term that the method does not have, weights and options of
    impossible values, or features that the method cannot work with; TypeError for an option that its loss lacks.
    """
    parts, defaults = parse(method), default_weights(method)
    for name in weights or {}:
        if name not in defaults:
            raise ValueError(f'weight for "{name}" was given, but {method} has the terms {", ".join(defaults)}')
    weights, losses = defaults | (weights or {}), {}
    for name in parts:
        entry, settings = METHODS[name], dict(options) if name == parts[0] else {}
        if "indices" in entry.needs:
            if train_labels is None:
                raise ValueError(f'"{name}" remembers training images: pass train_labels=, a class for each of them')
            settings["train_labels"] = train_labels
        if entry.reads == "maps" and not (student.maps and teacher.maps):
            pair_stages(student.maps, teacher.maps)  # says what is missing
        losses[name] = weights[name], entry.reads, entry.build(student, teacher, **settings), entry.needs
    return Objective(weights["classification"], losses)
