"""What methods that read maps share: which stages belong together, and maps of one size."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def pair_stages(student: list[Tensor], teacher: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """(student map, teacher map) of each stage, the stem left out; where one network has more, the last are paired.

    Raises:
        ValueError: a network shows no stages.
    """
    count = min(len(student), len(teacher)) - 1
    if count < 1:
        raise ValueError(
            f"the student shows {len(student)} maps, the teacher {len(teacher)}: a method that compares stages needs "
            "at least two of each; choose one that reads logits or pooled features"
        )
    return list(zip(student[-count:], teacher[-count:], strict=True))


def same_size(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps at the smaller one's height and width: the larger is averaged down."""
    if first.shape[2] > second.shape[2]:
        first = F.adaptive_avg_pool2d(first, second.shape[2:])
    elif first.shape[2] < second.shape[2]:
        second = F.adaptive_avg_pool2d(second, first.shape[2:])
    return first, second
