"""Exercises of notebook 01, the teacher."""

import torch

from dcd_utils.data.views import PAD, view_number
from dcd_utils.exercises.mechanism import Exercise

_LOGITS = torch.tensor([[5.0, 3.0, 0.0, -1.0], [0.5, 0.2, 0.1, 0.0], [-2.0, 8.0, 1.0, 6.0]], dtype=torch.float64)
_WIDE = torch.tensor([[2.0, -1.0, 0.0, 4.0, 1.5, 3.0]] * 2, dtype=torch.float64) * torch.tensor([[1.0], [0.3]])
_CASES = [(_LOGITS, 1.0), (_LOGITS, 4.0), (_WIDE, 2.5), (_WIDE, 0.5)]


def _soft(logits, temperature):
    return (logits / temperature).softmax(dim=1)


SOFTEN = Exercise("01.1 Softened probabilities", _CASES).answers(
    _soft,
    lambda logits, temperature: _soft(logits, 1 / temperature),
    "This sharpens where it should soften: what does a temperature above 1 do to the logits?",
    lambda logits, temperature: _soft(logits, 1) / temperature,
    "Do the probabilities of an image still sum to 1? Where does the temperature enter, before or after the softmax?",
    lambda logits, temperature: _soft(logits.T, temperature).T,
    "The probabilities of an image must sum to 1 over the classes: along which dimension does this sum?",
    lambda logits, temperature: _soft(logits, 1) ** (1 / temperature),
    "Close: the ratios between classes are right. What is missing for probabilities?",
    lambda *case: _soft(*case).log(), "These are the logarithms of what is asked for.",
    lambda logits, _: _soft(logits, 1), "This is right at temperature 1. The temperature is not used yet.")


def _entropy(logits, temperature):
    return torch.special.entr(_soft(logits, temperature)).sum(dim=1)


CONSIDERED = Exercise("01.2 How many classes does a teacher consider?", _CASES).answers(
    lambda *case: _entropy(*case).exp().mean(),
    lambda *case: _entropy(*case).mean().exp(),
    "Close. The number is asked for each image, and the mean taken of the numbers. Here the mean comes too early.",
    lambda *case: _entropy(*case).mean(), "This is the entropy. Which function of it is 4 for 4 equal probabilities?",
    lambda *case: (-_entropy(*case)).exp().mean(),
    "Look at the sign in the exponent: with certainty the answer is 1, and it only grows from there.",
    lambda *case: (_entropy(*case) / torch.tensor(2.0).log()).exp().mean(),
    "The entropy is in bits here, but the exponential undoes nats: both must use the same base.",
    lambda *case: _entropy(*case).exp(), "This is right for each image. Asked for is the mean over the images.",
    lambda logits, _: _entropy(logits, 1).exp().mean(), "Right at temperature 1. The temperature is not used yet.")


def _view(down, right, flip):
    return view_number(PAD - down, PAD + right if flip else PAD - right, flip)


_SHIFTS = [(0, 0, 0), (3, -2, 0), (-4, 1, 0), (2, 3, 1), (-1, -4, 1), (0, 0, 1)]
VIEW = Exercise("01.3 The view that moves the picture", _SHIFTS).answers(
    _view,
    lambda down, right, flip: view_number(PAD - down, PAD - right, flip),
    "Right for the views that are not mirrored. Mirroring comes last: what does it do to a shift to the right?",
    lambda down, right, flip: _view(-down, -right, flip),
    "Both directions are reversed: if the crop starts further down, where does the picture go?",
    lambda down, right, flip: view_number(PAD + down, PAD + right, flip),
    "If the crop starts further down, where does the picture go? And what does mirroring do to left and right?",
    lambda down, right, flip: _view(down, right, flip) // 2 + 81 * flip,
    "The offsets are right, the numbering is not: do the two views of a crop, plain and mirrored, lie side by side?",
    lambda down, right, flip: view_number(PAD + right if flip else PAD - right, PAD - down, flip),
    "Rows and columns have changed places: which offset is multiplied by 9?",
    lambda down, right, flip: _view(down, right, flip) - view_number(PAD, PAD, 0),
    "Without a shift this gives 0 or 1, the crop at the padding's corner. Where does a crop that moves nothing start?")
