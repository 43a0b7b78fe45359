"""Exercises of notebook 01, the teacher."""

from __future__ import annotations

import torch
from torch import Tensor

from dcd_utils.data.views import PAD, view_number
from dcd_utils.exercises.mechanism import Exercise, Mistake

_LOGITS = torch.tensor([[5.0, 3.0, 0.0, -1.0], [0.5, 0.2, 0.1, 0.0], [-2.0, 8.0, 1.0, 6.0]], dtype=torch.float64)
_WIDE = torch.tensor([[2.0, -1.0, 0.0, 4.0, 1.5, 3.0]] * 2, dtype=torch.float64) * torch.tensor([[1.0], [0.3]])
_SOFT_CASES = ((_LOGITS, 1.0), (_LOGITS, 4.0), (_WIDE, 2.5), (_WIDE, 0.5))


def _soft(logits: Tensor, temperature: float) -> Tensor:
    return (logits / temperature).softmax(dim=1)


_SOFTEN = Exercise(
    number="01.1",
    asks="softened probabilities",
    cases=tuple((case, _soft(*case)) for case in _SOFT_CASES),
    mistakes=(
        Mistake(
            lambda logits, temperature: (logits * temperature).softmax(dim=1),
            "This sharpens where it should soften: what does a temperature above 1 do to the logits?",
        ),
        Mistake(
            lambda logits, temperature: logits.softmax(dim=1) / temperature,
            "Do the probabilities of an image still sum to 1? Where does the temperature enter, before or "
            "after the softmax?",
        ),
        Mistake(
            lambda logits, temperature: (logits / temperature).softmax(dim=0),
            "The probabilities of an image must sum to 1 over the classes: along which dimension does this sum?",
        ),
        Mistake(
            lambda logits, temperature: logits.softmax(dim=1) ** (1 / temperature),
            "Close: the ratios between classes are right. What is missing for probabilities?",
        ),
        Mistake(
            lambda logits, temperature: (logits / temperature).log_softmax(dim=1),
            "These are the logarithms of what is asked for.",
        ),
        Mistake(
            lambda logits, temperature: logits.softmax(dim=1),
            "This is right at temperature 1. The temperature is not used yet.",
        ),
    ),
)


def _entropy(logits: Tensor, temperature: float) -> Tensor:
    soft = _soft(logits, temperature)
    return -(soft * soft.log()).sum(dim=1)


_CONSIDERED = Exercise(
    number="01.2",
    asks="how many classes a teacher considers",
    cases=tuple((case, _entropy(*case).exp().mean()) for case in _SOFT_CASES),
    mistakes=(
        Mistake(
            lambda logits, temperature: _entropy(logits, temperature).mean().exp(),
            "Close. The number is asked for each image, and the mean taken of the numbers. Here the mean "
            "comes too early.",
        ),
        Mistake(
            lambda logits, temperature: _entropy(logits, temperature).mean(),
            "This is the entropy. Which function of it gives 4 where 4 classes are equally likely?",
        ),
        Mistake(
            lambda logits, temperature: (-_entropy(logits, temperature)).exp().mean(),
            "Look at the sign in the exponent: with certainty the answer is 1, and it only grows from there.",
        ),
        Mistake(
            lambda logits, temperature: (_entropy(logits, temperature) / torch.log(torch.tensor(2.0))).exp().mean(),
            "The entropy is in bits here, but the exponential undoes nats: both must use the same base.",
        ),
        Mistake(
            lambda logits, temperature: _entropy(logits, temperature).exp(),
            "This is right for each image. One number is asked for, the mean over the images.",
        ),
        Mistake(
            lambda logits, temperature: _entropy(logits, 1.0).exp().mean(),
            "This is right at temperature 1. The temperature is not used yet.",
        ),
    ),
)


def _view(down: int, right: int, flip: int) -> int:
    return view_number(PAD - down, PAD + right if flip else PAD - right, flip)


_SHIFTS = ((0, 0, 0), (3, -2, 0), (-4, 1, 0), (2, 3, 1), (-1, -4, 1), (0, 0, 1))

_VIEW_OF_SHIFT = Exercise(
    number="01.3",
    asks="the view that moves the picture",
    cases=tuple((shift, _view(*shift)) for shift in _SHIFTS),
    mistakes=(
        Mistake(
            lambda down, right, flip: ((PAD - down) * 9 + PAD - right) * 2 + flip,
            "Right for the views that are not mirrored. Mirroring comes last: what does it do to a shift to the right?",
        ),
        Mistake(
            lambda down, right, flip: ((PAD + down) * 9 + (PAD - right if flip else PAD + right)) * 2 + flip,
            "Both directions are reversed: if the crop starts further down, where does the picture go?",
        ),
        Mistake(
            lambda down, right, flip: ((PAD + down) * 9 + PAD + right) * 2 + flip,
            "If the crop starts further down, where does the picture go? And what does mirroring do to left and right?",
        ),
        Mistake(
            lambda down, right, flip: (PAD - down) * 9 + (PAD + right if flip else PAD - right) + 81 * flip,
            "The offsets are right, the numbering is not: do the two views of a crop, plain and mirrored, "
            "lie side by side?",
        ),
        Mistake(
            lambda down, right, flip: ((PAD + right if flip else PAD - right) * 9 + PAD - down) * 2 + flip,
            "Rows and columns have changed places: which offset is multiplied by 9?",
        ),
        Mistake(
            lambda down, right, flip: (-down * 9 + (right if flip else -right)) * 2 + flip,
            "Without any shift this gives 0 or 1, the crop at the corner of the padding. Where does the "
            "crop start that changes nothing?",
        ),
    ),
)

EXERCISES = [_SOFTEN, _CONSIDERED, _VIEW_OF_SHIFT]
