"""Notebook 05: two or more typical wrong answers to each exercise, with words of the hint that each must get."""

import numpy as np
from scipy.stats import pearsonr, spearmanr, zscore


def _pairs(matrix):
    return matrix[~np.tri(len(matrix), dtype=bool)]


def _lower(matrix):
    return matrix[np.tril_indices(len(matrix))]


def _nearest(matrix):
    return np.argmax(matrix - 10 * np.eye(len(matrix)), axis=1)


MISTAKES = {
    "05.1": [
        (lambda student, teacher: pearsonr(student.flatten(), teacher.flatten())[0], "the diagonal takes part"),
        (lambda student, teacher: pearsonr(_lower(student), _lower(teacher))[0], "still holds the diagonal"),
        (lambda student, teacher: np.cov(_pairs(student), _pairs(teacher))[0, 1], "covariance"),
        (lambda student, teacher: spearmanr(_pairs(student), _pairs(teacher))[0], "ranks"),
    ],
    "05.2": [
        (lambda logits: zscore(logits, axis=0, ddof=1), "each class was standardised"),
        (lambda logits: zscore(logits, axis=0), "two things"),
        (lambda logits: zscore(logits, axis=1), "ddof"),
        (lambda logits: logits - logits.mean(axis=1, keepdims=True), "the means are right"),
        (lambda logits: logits / logits.std(axis=1, ddof=1, keepdims=True), "the spread is right"),
        (lambda logits: zscore(logits, axis=None), "one mean and one spread"),
    ],
    "05.3": [
        (lambda student, teacher: np.mean(student.argmax(axis=0) == teacher.argmax(axis=0)), "most alike itself"),
        (lambda student, teacher: np.mean(_nearest(np.abs(student)) == _nearest(np.abs(teacher))), "negative"),
        (lambda student, teacher: np.mean(student.argmin(axis=1) == teacher.argmin(axis=1)), "least alike"),
        (lambda student, teacher: 100 * np.mean(_nearest(student) == _nearest(teacher)), "between 0 and 1"),
        (lambda student, teacher: np.sum(_nearest(student) == _nearest(teacher)), "counts the classes"),
    ],
}
