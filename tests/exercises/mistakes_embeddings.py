"""Notebook 04: two or more typical wrong answers to each exercise, with words of the hint that each must get."""

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.neighbors import KNeighborsClassifier


def _share(predicted, labels):
    return 100 * np.mean(predicted == labels)


def _euclidean(train, train_labels, test, test_labels, k):
    return _share(KNeighborsClassifier(k).fit(train, train_labels).predict(test), test_labels)


def _cosine(train, train_labels, test, test_labels, k):
    classifier = KNeighborsClassifier(k, metric="cosine", algorithm="brute")
    return _share(classifier.fit(train, train_labels).predict(test), test_labels)


def _inner_products(train, train_labels, test, test_labels, k):
    nearest = (test @ train.T).argsort(axis=1)[:, -k:]
    return _share([np.bincount(train_labels[row]).argmax() for row in nearest], test_labels)


def _farthest(train, train_labels, test, test_labels, k):
    nearest = cdist(test, train, "cosine").argsort(axis=1)[:, -k:]
    return _share([np.bincount(train_labels[row]).argmax() for row in nearest], test_labels)


def _hat(kernel):
    return np.eye(len(kernel)) - 1 / len(kernel)


def _cosine_of(first, second):
    return np.trace(first.T @ second) / np.linalg.norm(first) / np.linalg.norm(second)


def _centred(kernel):
    return _hat(kernel) @ kernel @ _hat(kernel)


def _top(student, teacher, k, normalise=True):
    if normalise:
        student, teacher = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (student, teacher))
    nearest = np.argsort(-student @ teacher.T, axis=1)[:, :k]
    return 100 * np.mean([image in row for image, row in enumerate(nearest)])


MISTAKES = {
    "04.1": [
        (_euclidean, "Euclidean"),
        (_inner_products, "inner products"),
        (lambda *arguments: _cosine(*arguments) / 100, "in %"),
        (_farthest, "least alike"),
        (lambda *arguments: _cosine(*arguments[:-1], 1), "one neighbour only"),
    ],
    "04.2": [
        (_cosine_of, "as they are"),
        (lambda x, y: _cosine_of(x - x.mean(), y - y.mean()), "mean of all entries"),
        (lambda x, y: _cosine_of(_hat(x) @ x, _hat(y) @ y), "one side is centred"),
        (lambda x, y: _cosine_of(x @ _hat(x), y @ _hat(y)), "one side is centred"),
        (lambda x, y: _cosine_of(_centred(x), y), "only the first"),
        (lambda x, y: np.sum(_centred(x) * _centred(y)), "numerator"),
        (lambda x, y: _cosine_of(_centred(x), _centred(y)) ** 2, "square"),
    ],
    "04.3": [
        (lambda student, teacher, k: _top(student, teacher, 1), "top-1"),
        (lambda student, teacher, k: _top(teacher, student, k), "each teacher looks"),
        (lambda student, teacher, k: _top(student, teacher, k, normalise=False), "unit length"),
        (lambda student, teacher, k: _top(student, teacher, k) / 100, "in %"),
    ],
}
