"""Notebook 00: two or more typical wrong answers to each exercise, with words of the hint that each must get."""

import math

import numpy as np
from scipy.spatial.distance import cdist


def _own(nearest):
    return np.mean(nearest == np.arange(len(nearest)))


def _distances(student, teacher, metric="cosine"):
    return cdist(student.double().numpy(), teacher.double().numpy(), metric)


MISTAKES = {
    "00.1": [
        (lambda classes: 1 / classes, "make of a probability"),
        (lambda classes: math.log(1 / classes), "sign"),
        (lambda classes: math.log(classes) / math.log(2), "in bits"),
        (lambda classes: 1 / classes * 100, "accuracy of guessing"),
        (lambda classes: (classes - 1) / classes, "how often guessing is wrong"),
    ],
    "00.2": [
        (lambda student, teacher: _own((student @ teacher.T).numpy().argmax(axis=1)), "inner products"),
        (lambda student, teacher: _own(_distances(student, teacher).argmin(axis=0)), "each teacher looks"),
        (lambda student, teacher: _own(_distances(student, teacher).argmin(axis=1)) * 100, "in percent"),
        (lambda student, teacher: _own(_distances(student, teacher).argmin(axis=1)) * len(student), "how many images"),
        (lambda student, teacher: _own(_distances(student, teacher, "euclidean").argmin(axis=1)), "by distance"),
        (lambda student, teacher: 1 - np.trace(_distances(student, teacher)) / len(student), "how similar"),
    ],
}
