"""Exercises of notebook 09, scaling up."""

import torch

from dcd_utils.exercises.loss import _FOUR, _contrast
from dcd_utils.exercises.mechanism import Exercise


def _factor(own: int, batch: int, processes: int) -> float:
    return processes * own / batch


MEAN_OF_MEANS = Exercise("09.1 A mean of means", [(5, 11, 2), (6, 11, 2), (3, 11, 4), (16, 64, 4)]).answers(
    _factor,
    lambda own, batch, processes: 1.0, "Right where all hold equally many. Whose images count for more, if not?",
    lambda own, batch, processes: own / batch,
    "This would be right if the gradients were added up. They are added up, and then divided by something.",
    lambda own, batch, processes: batch / (processes * own), "The other way round: who holds more should weigh more.",
)  # fmt: skip


def _torn(scores: torch.Tensor, processes: int) -> torch.Tensor:
    blocks = torch.arange(len(scores)).chunk(processes)
    return torch.stack([_contrast(scores[block][:, block]) for block in blocks]).mean()


_EIGHT = torch.cat([torch.cat([_FOUR, -_FOUR.T], dim=1), torch.cat([_FOUR.T - 0.3, 2 * _FOUR], dim=1)])
TORN = Exercise("09.2 A batch, torn apart", [(_EIGHT * 3, 2), (_EIGHT * 3, 4), (_FOUR * 5, 2)]).answers(
    _torn,
    lambda scores, processes: _contrast(scores), "This is the loss of the whole batch: no process sees all columns.",
    lambda scores, processes: _torn(scores.T, processes), "Here the teachers look, not the students.",
    lambda scores, processes: _torn(scores, processes) * processes, "Each has a mean; what comes of several?",
    lambda scores, processes: _torn(scores, len(scores) // processes), "So many blocks, not so many images in each.",
)  # fmt: skip


def _received(batch: int, processes: int, width: int) -> float:
    return 2 * (batch - batch / processes) * width * 4


BYTES = Exercise("09.3 What a step receives", [(256, 8, 128), (64, 2, 32), (32768, 64, 128)]).answers(
    _received,
    lambda *case: _received(*case) / 2, "These are the embeddings of one network. Which of the two are needed?",
    lambda *case: _received(*case) / 4, "So many numbers. How many bytes has each?",
    lambda batch, processes, width: 8 * batch * width, "Nearly. A process has its own rows already.",
    lambda batch, processes, width: 8 * batch * width / processes, "This is what it sends. It receives the others'.",
)
