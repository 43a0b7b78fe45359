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


def _pairs(matrix):
    """Every pair of different classes once."""
    return matrix[np.triu_indices(len(matrix), k=1)]


AGREEMENT = Exercise("05.1 Structure, up to level and size", _MATRICES).answers(
    lambda student, teacher: pearsonr(_pairs(student), _pairs(teacher))[0],
    lambda student, teacher: pearsonr(student.ravel(), teacher.ravel())[0],
    "The diagonal takes part. It is 1 in every correlation matrix and makes any two of them look alike.",
    lambda student, teacher: pearsonr(*(matrix[np.triu_indices(len(matrix))] for matrix in (student, teacher)))[0],
    "This triangle still holds the diagonal, which is 1 in every correlation matrix: start one place above it.",
    lambda student, teacher: np.cov(_pairs(student), _pairs(teacher))[0, 1],
    "This is a covariance. What makes a correlation of it?",
    lambda student, teacher: spearmanr(_pairs(student), _pairs(teacher))[0],
    "This is Spearman's correlation, of ranks. Pearson's, of the values, is asked for.",
    lambda student, teacher: 1 - cosine(_pairs(student), _pairs(teacher)),
    "This is a cosine. A correlation takes the means off first.",
)

_BATCHES = [(_logits(4, 5, 4),), (_logits(5, 8, 3),), (_logits(6, 3, 10),), (_logits(7, 4, 4),)]
STANDARDISE = Exercise("05.2 The published plot's first step", _BATCHES).answers(
    lambda logits: zscore(logits, axis=1, ddof=1),
    lambda logits: zscore(logits, axis=0, ddof=1),
    "Each class was standardised over the images. Here it is each image, over its classes: which axis is that?",
    lambda logits: zscore(logits, axis=0),
    "Two things: each class was standardised over the images, not each image over its classes, and ddof is 0.",
    lambda logits: zscore(logits, axis=1),
    "Nearly: NumPy divides by the number of classes C, and C - 1 is asked for. The argument is called ddof.",
    lambda logits: logits - logits.mean(axis=1, keepdims=True),
    "The means are right. The logits of a student that is twice as sure would still be twice as large.",
    lambda logits: logits / logits.std(axis=1, ddof=1, keepdims=True),
    "The spread is right. Each image's mean should be 0 as well.",
    lambda logits: zscore(logits, axis=None),
    "One mean and one spread were used for all images: each image has its own.",
)


def _shared(*matrices):
    """The share of classes whose nearest class, itself excluded, is the same in both; correlations are at least -1."""
    student, teacher = ((matrix - 3 * np.eye(len(matrix))).argmax(axis=1) for matrix in matrices)
    return (student == teacher).mean()


NEAREST = Exercise("05.3 The nearest class", _MATRICES).answers(
    _shared,
    lambda student, teacher: (student.argmax(axis=1) == teacher.argmax(axis=1)).mean(),
    "Every class is most alike itself. Leave the diagonal out.",
    lambda student, teacher: _shared(np.abs(student), np.abs(teacher)),
    "A strongly negative correlation is the opposite of being alike: look at the values, not their sizes.",
    lambda student, teacher: (student.argmin(axis=1) == teacher.argmin(axis=1)).mean(),
    "These are the classes that are least alike.",
    lambda student, teacher: 100 * _shared(student, teacher), "Nearly: a share between 0 and 1 is asked for.",
    lambda student, teacher: len(student) * _shared(student, teacher),
    "This counts the classes. What share of all of them is it?",
)
