"""Exercises of notebook 04, embeddings."""

from __future__ import annotations

import numpy as np

from dcd_utils.exercises.mechanism import Exercise, Mistake


def _groups(seed: int, train: int, test: int, width: int, classes: int):
    """Features of a few overlapping classes, of lengths that vary, so that distance and angle find other neighbours."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, width))

    def draw(count):
        labels = np.arange(count) % classes
        rows = centres[labels] + 1.2 * rng.normal(size=(count, width))
        return rows * rng.uniform(0.2, 5.0, (count, 1)), labels

    return (*draw(train), *draw(test))


def _unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _vote(similarity, train_labels, test_labels, k, unit=100.0, worst=False):
    order = np.argsort(similarity if worst else -similarity, axis=1, kind="stable")[:, :k]
    predicted = np.array([np.bincount(votes).argmax() for votes in train_labels[order]])
    return unit * float((predicted == test_labels).mean())


def _knn(similarity, k=None, **how):
    """An answer that votes among the most similar, for some way to compute similarities."""
    return lambda a, a_labels, b, b_labels, wanted: _vote(similarity(b, a), a_labels, b_labels, k or wanted, **how)


def _cosine(b, a):
    return _unit(b) @ _unit(a).T


# two classes and odd k, or one neighbour: no vote can be a tie, whatever way an answer breaks one
_KNN_CASES = ((*_groups(1, 60, 40, 3, 2), 5), (*_groups(2, 90, 50, 4, 2), 7), (*_groups(3, 40, 30, 4, 3), 1))

_KNN = Exercise(
    number="04.1",
    asks="cosine kNN accuracy",
    cases=tuple((case, _knn(_cosine)(*case)) for case in _KNN_CASES),
    mistakes=(
        Mistake(
            _knn(lambda b, a: -np.linalg.norm(b[:, None] - a[None], axis=2)),
            "These are the nearest by Euclidean distance. For the cosine the length of a feature must not count.",
        ),
        Mistake(
            _knn(lambda b, a: b @ a.T),
            "These are inner products, in which a long feature is near to everything. What turns them into cosines?",
        ),
        Mistake(_knn(_cosine, unit=1.0), "Nearly: what is asked for is in %, as everywhere in the course."),
        Mistake(_knn(_cosine, worst=True), "These are the k images that are least alike: a higher cosine is nearer."),
        Mistake(_knn(_cosine, k=1), "This asks one neighbour only. Let k of them vote."),
    ),
)


def _centred(kernel):
    return kernel - kernel.mean(axis=0) - kernel.mean(axis=1, keepdims=True) + kernel.mean()


def _alignment(first, second):
    return float((first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum()))


def _aligned_after(treat, other=None):
    other = other or treat
    return lambda first, second: _alignment(treat(first), other(second))


def _kernels(seed: int, images: int):
    """A linear kernel of shifted features, and a Gaussian kernel of noisy versions of them: neither is centred."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(images, 3)) + 1.0
    y = x + 0.5 * rng.normal(size=x.shape)
    return x @ x.T, np.exp(-((y[:, None] - y[None]) ** 2).sum(axis=2) / 4)


_KERNEL_CASES = (_kernels(1, 12), _kernels(2, 7))

_ALIGNMENT = Exercise(
    number="04.2",
    asks="centred kernel alignment",
    cases=tuple((case, _aligned_after(_centred)(*case)) for case in _KERNEL_CASES),
    mistakes=(
        Mistake(
            _aligned_after(lambda kernel: kernel),
            "This is the alignment of the kernels as they are: where does the centring happen?",
        ),
        Mistake(
            _aligned_after(lambda kernel: kernel - kernel.mean()),
            "The mean of all entries was taken off. Centring acts on every row and on every column.",
        ),
        Mistake(
            _aligned_after(lambda kernel: kernel - kernel.mean(axis=0)),
            "One side is centred, the other is not: H stands on the left and on the right of a kernel.",
        ),
        Mistake(
            _aligned_after(_centred, lambda kernel: kernel),
            "Only the first kernel is centred. That leaves the numerator right, but not the denominator.",
        ),
        Mistake(
            lambda first, second: float((_centred(first) * _centred(second)).sum()),
            "This is the numerator. A kernel aligned with itself must give 1.",
        ),
        Mistake(
            lambda first, second: _alignment(_centred(first), _centred(second)) ** 2,
            "Close: this is the square of what is asked for.",
        ),
    ),
)


def _found(student, teacher, k, unit=100.0):
    scores = student @ teacher.T
    rank = (scores > scores.diagonal()[:, None]).sum(axis=1)
    return unit * float((rank < k).mean())


def _pairs(seed: int, images: int, width: int):
    """Students scattered about their teachers, neither of unit length."""
    rng = np.random.default_rng(seed)
    teacher = rng.normal(size=(images, width))
    student = teacher + 1.1 * rng.normal(size=teacher.shape)
    return student * rng.uniform(0.5, 2.0, (images, 1)), teacher * rng.uniform(0.5, 2.0, (images, 1))


_PAIR_CASES = ((*_pairs(1, 50, 4), 3), (*_pairs(2, 64, 3), 5), (*_pairs(3, 30, 6), 1))

_RETRIEVAL = Exercise(
    number="04.3",
    asks="top-k retrieval",
    cases=tuple(((s, t, k), _found(_unit(s), _unit(t), k)) for s, t, k in _PAIR_CASES),
    mistakes=(
        Mistake(
            lambda s, t, k: _found(_unit(s), _unit(t), 1),
            "This is the top-1 accuracy for every k: the own teacher may also come second, third, ... up to k-th.",
        ),
        Mistake(
            lambda s, t, k: _found(_unit(t), _unit(s), k),
            "Here each teacher looks for its student. It is the student that searches among the teachers.",
        ),
        Mistake(
            lambda s, t, k: _found(s, t, k),
            "Embeddings are compared by their cosine: are these rows of unit length?",
        ),
        Mistake(
            lambda s, t, k: _found(_unit(s), _unit(t), k, unit=1.0),
            "Nearly: what is asked for is in %, as everywhere in the course.",
        ),
    ),
)

EXERCISES = [_KNN, _ALIGNMENT, _RETRIEVAL]
