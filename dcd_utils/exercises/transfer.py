"""Exercises of notebook 08, transfer."""

import copy

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import nn

from dcd_utils.exercises.embeddings import classes
from dcd_utils.exercises.mechanism import Exercise


def _domains(seed: int, train: int, test: int, width: int):
    """Training and test features that differ in mean and spread; one never varies in training, like a dead unit."""
    rng = np.random.default_rng(seed)
    seen, unseen = rng.normal(size=(train, width)), 1.5 * rng.normal(size=(test, width)) + 0.7
    seen[:, 0] = 1.0
    return 3 * seen + 2, 3 * unseen + 2


def _scaled(rows, reference, ddof=0):
    spread = reference.std(axis=0, ddof=ddof)
    return (rows - reference.mean(axis=0)) / np.where(spread > 0, spread, 1)


SCALED = Exercise("08.1 Standardise", [_domains(1, 8, 5, 3), _domains(2, 30, 6, 4), _domains(3, 12, 12, 2)]).answers(
    lambda train, test: (_scaled(train, train), _scaled(test, train)),
    lambda train, test: (_scaled(train, train), _scaled(test, test)),
    "Each set was standardised by itself, which hides a shift between them: where should mean and spread come from?",
    lambda train, test: tuple(_scaled(rows, np.concatenate([train, test])) for rows in (train, test)),
    "The statistics are those of all images together. Should the test images have a say in them?",
    lambda train, test: (_scaled(train, train), test),
    "The training features are right. The classifier would meet test features of another size than it was fitted to.",
    lambda train, test: tuple(_scaled(rows.T, rows.T).T for rows in (train, test)),
    "Each image was standardised over its features. Here it is each feature, over the images: which axis?",
    lambda train, test: (_scaled(train, train, ddof=1), _scaled(test, train, ddof=1)),
    "Nearly: the spread divides by N - 1 here, and N is asked for. The argument is called ddof.")


def _network(*layers, training=False, gradient=True):
    with torch.random.fork_rng(devices=[]):
        return nn.Sequential(nn.Conv2d(3, 4, 3), *layers).train(training).requires_grad_(gradient)


def _stays_frozen(network, images):
    before = copy.deepcopy(network.state_dict())
    with torch.no_grad():
        network(images)
    return all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


_IMAGES = torch.linspace(-1, 2, 4 * 3 * 6 * 6).reshape(4, 3, 6, 6)
_PARTLY = _network(nn.BatchNorm2d(4), nn.ReLU())
_PARTLY[1].train()  # the network says eval, and a part of it does not
_NETWORKS = [
    _network(nn.BatchNorm2d(4)), _network(nn.BatchNorm2d(4), training=True), _PARTLY,
    _network(nn.ReLU(), training=True), _network(nn.BatchNorm2d(4), training=True, gradient=False)]
FROZEN = Exercise("08.2 Frozen or not?", [(network, _IMAGES) for network in _NETWORKS]).answers(
    _stays_frozen,
    lambda network, images: True,
    "It calls every network frozen. Two frequent reasons: only parameters are compared, and what batch norm keeps "
    "is none; or `state_dict()` hands out the tensors themselves, so before and after are the same ones.",
    lambda network, images: not network.training,
    "It trusts the mode of the network as a whole. A part of it may have another: compare what is stored.",
    lambda network, images: not any(module.training for module in network.modules()),
    "It asks for modes. A network without batch norm may be in train mode and stay what it is: compare what is stored.",
    lambda network, images: not any(parameter.requires_grad for parameter in network.parameters()),
    "It asks whether weights *could* be trained. No gradient is needed to change what batch norm stores.",
    lambda *case: not _stays_frozen(*case), "The other way round: True is for a network that stays as it is.")


def _nearest(train, labels, test, test_labels, metric="euclidean", sign=1):
    centres = np.stack([train[labels == label].mean(axis=0) for label in range(labels.max() + 1)])
    return 100 * ((sign * cdist(test, centres, metric)).argmin(axis=1) == test_labels).mean()


CENTRES = Exercise("08.3 Nothing to fit", [classes(1, 40, 60, 3, 4), classes(2, 60, 90, 5, 6)]).answers(
    _nearest,
    lambda *case: _nearest(*case, metric="cosine"), "This is the smallest angle, not the smallest distance.",
    lambda *case: _nearest(*case, sign=-1), "This picks the centre that is farthest away.",
    lambda *case: _nearest(*case[2:], *case[2:]), "The centres know the labels of the test images.",
    lambda *case: _nearest(*case) / 100, "Nearly: what is asked for is in %, as everywhere.")
