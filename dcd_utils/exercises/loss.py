"""Exercises of notebook 02, the DCD loss."""

import math

import torch
import torch.nn.functional as F

from dcd_utils.exercises.mechanism import Exercise

# the cosines of the notebook's batch of four, and scores of another size, so that no answer can be fitted to one shape
_FOUR = torch.tensor([[96, 60, 28, 80], [28, 80, -96, -60], [-28, -80, 96, 60], [0, -60, 100, 80]]).double() / 100
_THREE = torch.tensor([[3.0, -1.0, 0.5], [2.0, 0.0, -2.0], [-4.0, 1.5, 1.0]], dtype=torch.float64)


def _contrast(scores):
    return F.cross_entropy(scores, torch.arange(len(scores)))


def _both_ways(scores):
    return (_contrast(scores) + _contrast(scores.T)) / 2


BOTH_WAYS = Exercise("02.1 Both directions", [(_FOUR * math.e,), (_THREE,)]).answers(
    _both_ways,
    lambda scores: 2 * _both_ways(scores),
    "Both directions are there. For symmetric scores the two are equal, and the answer should be as large: is it?",
    _contrast, "This is the contrast from student to teacher alone. Which softmax lets a teacher look for its student?",
    lambda scores: _contrast(scores.T), "This is the contrast from teacher to student alone: one direction is missing.",
    lambda scores: (scores.softmax(dim=1) + scores.softmax(dim=0)).diagonal().mean() / -2,
    "The probabilities are right. What is done to each of them before the mean is taken?",
    lambda scores: -_both_ways(scores), "Look at its sign: can a loss of this kind fall below 0?",
    lambda scores: len(scores) * _both_ways(scores), "This adds up over the images. A contrast is their mean.")


def _scale(contrast: float, size: int, gap: float | None = None, least: float = 1.0) -> float:
    """The scale needed if a right and a wrong cosine can differ by `gap`; None: by as much as unit vectors allow."""
    return math.log((size - 1) / (math.exp(contrast) - least)) / (gap or size / (size - 1))


SCALE_NEEDED = Exercise("02.2 What scale does it take?", [(0.1, 64), (1.0, 64), (0.5, 4), (0.005, 256)]).answers(
    _scale,
    lambda *case: _scale(*case, gap=1.0), "Nearly. This puts wrong teachers at cosine 0. Can they be further away?",
    lambda *case: _scale(*case, gap=2.0), "This puts every wrong teacher at cosine -1. Can all be there at once?",
    lambda *case: _scale(*case, least=0.0),
    "Check it with the definition: in the sum inside the logarithm, the right teacher has a term of its own.",
    lambda contrast, size: math.log(1 + (size - 1) * math.exp(-contrast * size / (size - 1))),
    "This is the smallest contrast of a given scale. The question is the other way round.",
    lambda *case: math.log(_scale(*case)), "This is the logarithm of what is asked for: it is t, not the scale.")


def _bias_gradient(scores):
    return (scores.sigmoid() - torch.eye(len(scores))).sum() / len(scores)


SIGMOID_BIAS = Exercise("02.3 A bias that works", [(_FOUR * math.e,), (_THREE,), (_FOUR - 5,)]).answers(
    _bias_gradient,
    lambda scores: _bias_gradient(scores) / len(scores),
    "The form is right, the size is not. By what does the loss divide its sum: by the images, or by the pairs?",
    lambda scores: _bias_gradient(scores) * len(scores),
    "The form is right, the size is not: the loss is a sum over pairs divided by something.",
    lambda scores: -_bias_gradient(scores), "Look at its sign. With scores far too high, loss and bias fall together.",
    lambda scores: (scores.sigmoid() - 1).sum() / len(scores),
    "This treats every pair as a match. The label of a pair off the diagonal differs.",
    lambda scores: (scores.diagonal().sigmoid() - 1).mean(),
    "This counts the matching pairs alone: in this loss the pairs off the diagonal speak too.",
    lambda scores: 0.0, "This is the gradient in the softmax loss. The sigmoid decides about each pair on its own.")
