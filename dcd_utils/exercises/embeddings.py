"""Exercises of notebook 04, embeddings."""

import numpy as np
from scipy.spatial.distance import cdist, cosine

from dcd_utils.exercises.mechanism import Exercise


def classes(seed: int, train: int, test: int, width: int, number: int):
    """(features, labels, test features, labels) of overlapping classes, of varying lengths: an angle is no distance."""
    rng = np.random.default_rng(seed)
    labels = np.arange(train + test) % number
    rows = rng.normal(size=(number, width))[labels] + 1.2 * rng.normal(size=(len(labels), width))
    rows *= rng.uniform(0.2, 5.0, (len(labels), 1))
    return rows[:train], labels[:train], rows[train:], labels[train:]


def cosines(first, second):
    return 1 - cdist(first, second, "cosine")


def _knn(train, train_labels, test, test_labels, k, similarity=cosines):
    neighbours = np.argsort(-similarity(test, train), axis=1)[:, :k]
    predicted = np.array([np.bincount(votes).argmax() for votes in train_labels[neighbours]])
    return 100 * (predicted == test_labels).mean()


# no vote is a tie, whatever way an answer breaks one: two classes and odd k, or one neighbour, or as it happens (last)
_VOTES = [(*classes(1, 60, 40, 3, 2), 5), (*classes(2, 90, 50, 4, 2), 7), (*classes(3, 40, 30, 4, 3), 1)]
_VOTES += [(*classes(32, 45, 15, 3, 3), 4)]
KNN = Exercise("04.1 kNN accuracy", _VOTES).answers(
    _knn,
    lambda *case: _knn(*case, lambda *rows: -cdist(*rows)),
    "These are the nearest by Euclidean distance. For the cosine the length of a feature must not count.",
    lambda *case: _knn(*case, np.inner), "These are inner products: long features win. What turns them into cosines?",
    lambda *case: _knn(*case) / 100, "Nearly: what is asked for is in %, as everywhere in the course.",
    lambda *case: _knn(*case, lambda *rows: -cosines(*rows)), "These are the least alike: a higher cosine is nearer.",
    lambda *case: _knn(*case[:-1], 1), "This asks one neighbour only. Let k of them vote.")


def _kernels(seed: int, images: int):
    """A linear kernel of shifted features, and a Gaussian kernel of noisy versions of them: neither is centred."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(images, 3)) + 1.0
    y = x + 0.5 * rng.normal(size=x.shape)
    return x @ x.T, np.exp(-cdist(y, y, "sqeuclidean") / 4)


def _centred(kernel):
    return kernel - kernel.mean(axis=0) - kernel.mean(axis=1, keepdims=True) + kernel.mean()


def alignment(first, second):
    return 1 - cosine(first.ravel(), second.ravel())


ALIGNMENT = Exercise("04.2 Alignment of any two kernels", [_kernels(1, 12), _kernels(2, 7)]).answers(
    lambda *kernels: alignment(*map(_centred, kernels)),
    alignment, "This is the alignment of the kernels as they are: where does the centring happen?",
    lambda a, b: alignment(a - a.mean(), b - b.mean()),
    "The mean of all entries was taken off. Centring acts on every row and on every column.",
    lambda a, b: alignment(a - a.mean(axis=0), b - b.mean(axis=0)),
    "One side is centred, the other is not: H stands on the left and on the right of a kernel.",
    lambda a, b: alignment(_centred(a), b), "Only one kernel is centred: right for the numerator, not for the norms.",
    lambda a, b: (_centred(a) * _centred(b)).sum(), "This is the numerator. A kernel aligned with itself must give 1.",
    lambda *kernels: alignment(*map(_centred, kernels)) ** 2, "Close: this is the square of what is asked for.")


def pairs(seed: int, images: int, width: int, noise: float = 1.1):
    """Students scattered about their teachers, of lengths that vary."""
    rng = np.random.default_rng(seed)
    teacher = rng.normal(size=(images, width))
    student = teacher + noise * rng.normal(size=teacher.shape)
    return student * rng.uniform(0.2, 4.0, (images, 1)), teacher * rng.uniform(0.2, 4.0, (images, 1))


def retrieval(student, teacher, k, similarity=cosines):
    """In how many % of all rows the own teacher is among the k that a student is most similar to."""
    scores = similarity(np.asarray(student), np.asarray(teacher))
    return 100 * ((scores > scores.diagonal()[:, None]).sum(axis=1) < k).mean()


TOP_K = Exercise("04.3 Nearly found", [(*pairs(1, 50, 4), 3), (*pairs(2, 64, 3), 5), (*pairs(3, 30, 6), 1)]).answers(
    retrieval,
    lambda student, teacher, k: retrieval(student, teacher, 1),
    "This is the top-1 accuracy for every k: the own teacher may also come second, third, ... up to k-th.",
    lambda student, teacher, k: retrieval(teacher, student, k),
    "Here each teacher looks for its student. It is the student that searches among the teachers.",
    lambda *case: retrieval(*case, np.inner), "Embeddings are compared by their cosine: are these rows of unit length?",
    lambda *case: retrieval(*case) / 100, "Nearly: what is asked for is in %, as everywhere in the course.")
