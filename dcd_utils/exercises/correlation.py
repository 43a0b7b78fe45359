"""Exercises of notebook 05, correlation matrices."""

import numpy as np
from scipy.spatial.distance import cosine
from scipy.stats import pearsonr, spearmanr, zscore

from dcd_utils.exercises.mechanism import Exercise


def _logits(seed: int, images: int, classes: int):
    """Logits in which classes move together."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(images, classes)) @ rng.normal(size=(classes, classes)) + 3 * rng.normal(size=classes)


def _correlations(seed: int, classes: int, likeness: float = 0.6):
    teacher = _logits(seed, 40, classes)
    student = likeness * teacher + 0.4 * _logits(seed + 100, 40, classes)
    return np.corrcoef(student, rowvar=False), np.corrcoef(teacher, rowvar=False)


# of the last, the structures disagree: their correlation is negative
_MATRICES = [_correlations(1, 6), _correlations(2, 9), _correlations(16, 4, likeness=0.1)]


def _pairs(matrix, k=1):
    """Every pair of different classes once."""
    return matrix[np.triu_indices(len(matrix), k)]


AGREEMENT = Exercise("05.1 Structure, up to level and size", _MATRICES).answers(
    lambda *both: pearsonr(*map(_pairs, both))[0],
    lambda *both: pearsonr(*map(np.ravel, both))[0],
    "The diagonal takes part. It is 1 in every correlation matrix and makes any two of them look alike.",
    lambda *both: pearsonr(*(_pairs(matrix, k=0) for matrix in both))[0],
    "This triangle still holds the diagonal, which is 1 in every correlation matrix: start one place above it.",
    lambda *both: np.cov(*map(_pairs, both))[0, 1], "This is a covariance. What makes a correlation of it?",
    lambda *both: spearmanr(*map(_pairs, both))[0], "This is Spearman's correlation, of ranks. Pearson's is asked for.",
    lambda *both: 1 - cosine(*map(_pairs, both)), "This is a cosine. A correlation takes the means off first.")

_BATCHES = [(_logits(4, 5, 4),), (_logits(5, 8, 3),), (_logits(6, 3, 10),), (_logits(7, 4, 4),)]
STANDARDISE = Exercise("05.2 The published plot's first step", _BATCHES).answers(
    lambda x: zscore(x, axis=1, ddof=1),
    lambda x: zscore(x, axis=0, ddof=1),
    "Each class was standardised over the images. Here it is each image, over its classes: which axis is that?",
    lambda x: zscore(x, axis=0), "Two things: each class was standardised, not each image, and ddof is 0.",
    lambda x: zscore(x, axis=1), "Nearly: NumPy divides by the number of classes C, and C - 1 is asked for: see ddof.",
    lambda x: x - x.mean(axis=1, keepdims=True),
    "The means are right. The logits of a student that is twice as sure would still be twice as large.",
    lambda x: x / x.std(axis=1, ddof=1, keepdims=True), "The spread is right. Each image's mean should be 0 as well.",
    lambda x: zscore(x, axis=None), "One mean and one spread were used for all images: each image has its own.")


def _shared(*matrices, excluded=3):
    """The share of classes whose nearest class, itself excluded, is the same in both; correlations are at least -1."""
    student, teacher = ((matrix - excluded * np.eye(len(matrix))).argmax(axis=1) for matrix in matrices)
    return (student == teacher).mean()


NEAREST = Exercise("05.3 The nearest class", _MATRICES).answers(
    _shared,
    lambda *both: _shared(*both, excluded=0), "Every class is most alike itself. Leave the diagonal out.",
    lambda *both: _shared(*map(np.abs, both)),
    "A strongly negative correlation is the opposite of being alike: look at the values, not their sizes.",
    lambda *both: _shared(*map(np.negative, both)), "These are the classes that are least alike.",
    lambda *both: 100 * _shared(*both), "Nearly: a share between 0 and 1 is asked for.",
    lambda *both: len(both[0]) * _shared(*both), "This counts the classes. What share of all of them is it?")
