"""Exercises of notebook 07, transfer."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from dcd_utils.exercises.mechanism import Exercise, Mistake


def _domains(seed: int, train: int, test: int, width: int):
    """Training and test features that differ in mean and spread; one never varies in training, like a dead unit."""
    rng = np.random.default_rng(seed)
    seen, unseen = rng.normal(size=(train, width)), 1.5 * rng.normal(size=(test, width)) + 0.7
    seen[:, 0] = 1.0
    return 3 * seen + 2, 3 * unseen + 2


def _scaled(rows, of, axis=0, ddof=0):
    """Rows, standardised by the mean and spread of others."""
    spread = of.std(axis=axis, ddof=ddof, keepdims=True)
    return (rows - of.mean(axis=axis, keepdims=True)) / np.where(spread > 0, spread, 1)


_FEATURE_CASES = (_domains(1, 8, 5, 3), _domains(2, 30, 6, 4), _domains(3, 12, 12, 2))

_STANDARDISE = Exercise(
    number="07.1",
    asks="standardised features",
    cases=tuple(((train, test), (_scaled(train, train), _scaled(test, train))) for train, test in _FEATURE_CASES),
    mistakes=(
        Mistake(
            lambda train, test: (_scaled(train, train), _scaled(test, test)),
            "Each set was standardised by itself, which wipes out any shift between the two: where should mean and "
            "spread come from?",
        ),
        Mistake(
            lambda train, test: tuple(_scaled(each, np.concatenate([train, test])) for each in (train, test)),
            "The statistics are those of all images together. Should the test images have a say in them?",
        ),
        Mistake(
            lambda train, test: (_scaled(train, train), test),
            "The training features are right. The classifier would meet test features of another size than those it "
            "was fitted to.",
        ),
        Mistake(
            lambda train, test: (_scaled(train, train, axis=1), _scaled(test, test, axis=1)),
            "Each image was standardised over its features. Here it is each feature, over the images: which axis?",
        ),
        Mistake(
            lambda train, test: (_scaled(train, train, ddof=1), _scaled(test, train, ddof=1)),
            "Nearly: the spread divides by N - 1 here, and N is asked for. The argument is called ddof.",
        ),
    ),
)


def _network(*layers, training=False, gradient=True):
    with torch.random.fork_rng(devices=[]):
        return nn.Sequential(nn.Conv2d(3, 4, 3), *layers).train(training).requires_grad_(gradient)


_BATCH = torch.linspace(-1, 2, 4 * 3 * 6 * 6).reshape(4, 3, 6, 6)
_AWAKE = _network(nn.BatchNorm2d(4), nn.ReLU())
_AWAKE[1].train()  # the network says eval, and a part of it does not
_FROZEN = Exercise(
    number="07.2",
    asks="does a forward pass leave the network as it is?",
    cases=(
        ((_network(nn.BatchNorm2d(4)), _BATCH), True),
        ((_network(nn.BatchNorm2d(4), training=True), _BATCH), False),
        ((_AWAKE, _BATCH), False),
        ((_network(nn.ReLU(), training=True), _BATCH), True),
        ((_network(nn.BatchNorm2d(4), training=True, gradient=False), _BATCH), False),
    ),
    mistakes=(
        Mistake(
            lambda network, images: True,
            "It calls every network frozen. Two frequent reasons: only parameters are compared, and what batch norm "
            "keeps is none; or `state_dict()` hands out the tensors themselves, so before and after are the same ones.",
        ),
        Mistake(
            lambda network, images: not network.training,
            "It trusts the mode of the network as a whole. A part of it may have another: compare what is stored.",
        ),
        Mistake(
            lambda network, images: not any(part.training for part in network.modules()),
            "It asks for modes. A network without batch norm may be in train mode and stay what it is: compare what "
            "is stored.",
        ),
        Mistake(
            lambda network, images: not any(parameter.requires_grad for parameter in network.parameters()),
            "It asks whether weights *could* be trained. No gradient is needed to change what batch norm stores.",
        ),
    ),
)


def _classes(seed: int, train: int, test: int, width: int, classes: int):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, width)) * rng.uniform(0.4, 2.5, (classes, 1)) + 0.8
    labels = [np.arange(count) % classes for count in (train, test)]
    rows = [centres[each] + 0.9 * rng.normal(size=(len(each), width)) for each in labels]
    return rows[0], labels[0], rows[1], labels[1]


def _nearest(train, train_labels, test, test_labels, cosine=False, farthest=False):
    centres = np.stack([train[train_labels == label].mean(axis=0) for label in range(train_labels.max() + 1)])
    distances = np.linalg.norm(test[:, None] - centres, axis=2)
    if cosine:
        distances = -(test @ centres.T) / np.linalg.norm(centres, axis=1)
    return 100 * float(((-distances if farthest else distances).argmin(axis=1) == test_labels).mean())


_CENTRES = Exercise(
    number="07.3",
    asks="nearest class centre",
    cases=tuple((case, _nearest(*case)) for case in (_classes(1, 40, 60, 3, 4), _classes(2, 60, 90, 5, 6))),
    mistakes=(
        Mistake(lambda *case: _nearest(*case, cosine=True), "This is the smallest angle, not the smallest distance."),
        Mistake(lambda *case: _nearest(*case, farthest=True), "This picks the centre that is farthest away."),
        Mistake(lambda *case: _nearest(*case[2:], *case[2:]), "The centres know the labels of the test images."),
        Mistake(lambda *case: _nearest(*case) / 100, "Nearly: what is asked for is in %, as everywhere."),
    ),
)

EXERCISES = [_STANDARDISE, _FROZEN, _CENTRES]
