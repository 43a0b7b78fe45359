"""Exercises of notebook 00, the overview."""

import math

import numpy as np
import torch
from scipy.spatial.distance import cdist

from dcd_utils.exercises.embeddings import cosines, pairs, retrieval
from dcd_utils.exercises.mechanism import Exercise

GUESSING = Exercise("00.1 The loss of knowing nothing", [(20,), (100,), (7,)]).answers(
    math.log,
    lambda classes: 1 / classes, "This is the right class's probability. What does cross-entropy make of it?",
    lambda classes: -math.log(classes), "Look at its sign: can a cross-entropy fall below 0?",
    math.log2, "This is in bits. The course, like PyTorch, counts in nats: which logarithm is that?",
    lambda classes: 100 / classes, "This is the accuracy of guessing, in percent. The question is about the loss.",
    lambda classes: 1 - 1 / classes, "This is how often guessing is wrong. How probable is the right class?")

_SHAPES = ((1, 12, 3, 0.6), (2, 40, 5, 0.9), (3, 25, 2, 0.3))
_BATCHES = [tuple(torch.from_numpy(rows).float() for rows in pairs(*shape)) for shape in _SHAPES]
SHARE_FOUND = Exercise("00.2 The game that DCD plays", _BATCHES).answers(
    lambda *batch: retrieval(*batch, 1) / 100,
    lambda *batch: retrieval(*batch, 1, np.inner) / 100,
    "These are inner products. Long features then win over similar ones: what makes an inner product a cosine?",
    lambda student, teacher: retrieval(teacher, student, 1) / 100,
    "Here each teacher looks for its student. Along which dimension does a student compare the teachers?",
    lambda *batch: retrieval(*batch, 1), "This is in percent. A number from 0 to 1 is asked for.",
    lambda *batch: len(batch[0]) * retrieval(*batch, 1) / 100, "This is how many images, not which share of them.",
    lambda *batch: retrieval(*batch, 1, lambda *rows: -cdist(*rows)) / 100,
    "This takes the nearest teacher by distance. Cosines ignore how long the features are.",
    lambda student, teacher: cosines(student, teacher).diagonal().mean(),
    "This is how similar students are to their own teachers. How often is that more than to any other?")
