"""Notebook 02: two or more typical wrong answers to each exercise, with words of the hint that each must get."""

import math

import torch
import torch.nn.functional as F


def _contrast(scores):
    return F.cross_entropy(scores, torch.arange(len(scores)))


def _logarithm_forgotten(scores):
    return -(scores.softmax(0) + scores.softmax(1)).trace() / (2 * len(scores))


def _off_diagonal_forgotten(scores):
    return (scores.diagonal().sigmoid() - 1).mean()


def _labels_forgotten(scores):
    return (scores.sigmoid() - 1).sum() / len(scores)


MISTAKES = {
    "02.1": [
        (lambda scores: _contrast(scores) + _contrast(scores.T), "Both directions are there"),
        (_contrast, "student to teacher alone"),
        (lambda scores: _contrast(scores.T), "teacher to student alone"),
        (_logarithm_forgotten, "The probabilities are right"),
        (lambda scores: -(_contrast(scores) + _contrast(scores.T)) / 2, "sign"),
    ],
    "02.2": [
        (lambda contrast, size: math.log((size - 1) / (math.exp(contrast) - 1)), "cosine 0"),
        (lambda contrast, size: math.log((size - 1) / (math.exp(contrast) - 1)) / 2, "cosine -1"),
        (lambda contrast, size: (math.log(size - 1) - contrast) * (size - 1) / size, "a term of its own"),
        (lambda contrast, size: math.log1p((size - 1) * math.exp(-contrast * size / (size - 1))), "other way round"),
    ],
    "02.3": [
        (lambda scores: (scores.sigmoid() - torch.eye(len(scores))).mean(), "the form is right"),
        (lambda scores: (scores.sigmoid() - torch.eye(len(scores))).sum(), "the form is right"),
        (lambda scores: (torch.eye(len(scores)) - scores.sigmoid()).sum() / len(scores), "sign"),
        (_labels_forgotten, "as a match"),
        (_off_diagonal_forgotten, "matching pairs alone"),
        (lambda scores: 0.0, "softmax loss"),
    ],
}
