"""Exercises of notebook 05, correlation matrices."""

from __future__ import annotations

import numpy as np

from dcd_utils.exercises.mechanism import Exercise, Mistake


def _logits(seed: int, images: int, classes: int, like=None):
    """Logits in which classes move together; `like` makes a student of a teacher."""
    rng = np.random.default_rng(seed)
    if like is not None:
        return 0.6 * like + rng.normal(size=like.shape) @ rng.normal(size=(classes, classes)) * 0.4
    return rng.normal(size=(images, classes)) @ rng.normal(size=(classes, classes)) + 3 * rng.normal(size=classes)


def _correlations(seed: int, classes: int):
    teacher = _logits(seed, 40, classes)
    student = _logits(seed + 100, 40, classes, like=teacher)
    return np.corrcoef(student, rowvar=False), np.corrcoef(teacher, rowvar=False)


_MATRIX_CASES = (_correlations(1, 6), _correlations(2, 9), _correlations(3, 4))


def _pairs(matrix):
    """Every pair of different classes once."""
    return matrix[np.triu_indices(len(matrix), k=1)]


def _ranks(values):
    return values.argsort().argsort()


def _structure(student, teacher):
    return float(np.corrcoef(_pairs(student), _pairs(teacher))[0, 1])


_AGREEMENT = Exercise(
    number="05.1",
    asks="correlation of two matrices",
    cases=tuple((case, _structure(*case)) for case in _MATRIX_CASES),
    mistakes=(
        Mistake(
            lambda s, t: float(np.corrcoef(s.ravel(), t.ravel())[0, 1]),
            "The diagonal takes part. It is 1 in every correlation matrix and makes any two of them look alike.",
        ),
        Mistake(
            lambda s, t: float(np.corrcoef(s[np.triu_indices(len(s))], t[np.triu_indices(len(t))])[0, 1]),
            "This triangle still holds the diagonal, which is 1 in every correlation matrix: start one place above it.",
        ),
        Mistake(
            lambda s, t: float(np.cov(_pairs(s), _pairs(t))[0, 1]),
            "This is a covariance. What makes a correlation of it?",
        ),
        Mistake(
            lambda s, t: float(np.corrcoef(_ranks(_pairs(s)), _ranks(_pairs(t)))[0, 1]),
            "This is Spearman's correlation, of ranks. Pearson's, of the values, is asked for.",
        ),
        Mistake(
            lambda s, t: float(_pairs(s) @ _pairs(t) / np.linalg.norm(_pairs(s)) / np.linalg.norm(_pairs(t))),
            "This is a cosine. A correlation takes the means off first.",
        ),
    ),
)


def _standardised(logits, axis=1, ddof=1, center=True, scale=True):
    centred = logits - logits.mean(axis=axis, keepdims=True) if center else logits
    return centred / logits.std(axis=axis, ddof=ddof, keepdims=True) if scale else centred


_LOGIT_CASES = (_logits(4, 5, 4), _logits(5, 8, 3), _logits(6, 3, 10))

_STANDARDISE = Exercise(
    number="05.2",
    asks="standardised logits",
    cases=tuple(((logits,), _standardised(logits)) for logits in _LOGIT_CASES),
    mistakes=(
        Mistake(
            lambda logits: _standardised(logits, axis=0),
            "Each class was standardised over the images. Here it is each image, over its classes: which axis is that?",
        ),
        Mistake(
            lambda logits: _standardised(logits, axis=0, ddof=0),
            "Two things: each class was standardised over the images, not each image over its classes, and ddof is 0.",
        ),
        Mistake(
            lambda logits: _standardised(logits, ddof=0),
            "Nearly: NumPy divides by the number of classes C, and C - 1 is asked for. The argument is called ddof.",
        ),
        Mistake(
            lambda logits: _standardised(logits, scale=False),
            "The means are right. The logits of a student that is twice as sure would still be twice as large.",
        ),
        Mistake(
            lambda logits: _standardised(logits, center=False),
            "The spread is right. Each image's mean should be 0 as well.",
        ),
        Mistake(
            lambda logits: (logits - logits.mean()) / logits.std(),
            "One mean and one spread were used for all images: each image has its own.",
        ),
    ),
)


def _nearest(matrix):
    """The class that each class is most alike, itself excluded."""
    matrix = np.array(matrix, dtype=float)
    np.fill_diagonal(matrix, -np.inf)
    return matrix.argmax(axis=1)


def _without_diagonal(matrix):
    return matrix * (1 - np.eye(len(matrix)))


_NEAREST = Exercise(
    number="05.3",
    asks="shared nearest class",
    cases=tuple((case, float((_nearest(case[0]) == _nearest(case[1])).mean())) for case in _MATRIX_CASES),
    mistakes=(
        Mistake(
            lambda s, t: float((s.argmax(axis=1) == t.argmax(axis=1)).mean()),
            "Every class is most alike itself. Leave the diagonal out.",
        ),
        Mistake(
            lambda s, t: float(
                (np.abs(_without_diagonal(s)).argmax(axis=1) == np.abs(_without_diagonal(t)).argmax(axis=1)).mean()
            ),
            "A strongly negative correlation is the opposite of being alike: look at the values, not their sizes.",
        ),
        Mistake(
            lambda s, t: float((s.argmin(axis=1) == t.argmin(axis=1)).mean()),
            "These are the classes that are least alike.",
        ),
        Mistake(
            lambda s, t: 100 * float((_nearest(s) == _nearest(t)).mean()),
            "Nearly: a share between 0 and 1 is asked for.",
        ),
        Mistake(
            lambda s, t: float((_nearest(s) == _nearest(t)).sum()),
            "This counts the classes. What share of all of them is it?",
        ),
    ),
)

EXERCISES = [_AGREEMENT, _STANDARDISE, _NEAREST]
