"""Notebook 07: two or more typical wrong answers to each exercise, with words of the hint that each must get."""

import numpy as np
import torch
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import StandardScaler


def _scaler(rows):
    return StandardScaler().fit(rows).transform


@np.errstate(divide="ignore", invalid="ignore")
def _dead_feature_forgotten(train, test):
    return tuple((each - train.mean(axis=0)) / train.std(axis=0) for each in (train, test))


def _aliased(network, images):
    before = network.state_dict()
    network(images)
    return all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def _parameters_only(network, images):
    before = [parameter.detach().clone() for parameter in network.parameters()]
    network(images)
    return all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def _centroids(train, labels, test, test_labels):
    return NearestCentroid().fit(train, labels).score(test, test_labels)


def _picked(train, labels, test, test_labels, metric, pick):
    centres = np.stack([train[labels == label].mean(axis=0) for label in np.unique(labels)])
    return 100 * np.mean(pick(cdist(test, centres, metric), axis=1) == test_labels)


MISTAKES = {
    "07.1": [
        (lambda train, test: (_scaler(train)(train), _scaler(test)(test)), "by itself"),
        (lambda train, test: tuple(map(_scaler(np.vstack([train, test])), (train, test))), "all images together"),
        (lambda train, test: (_scaler(train)(train), test), "of another size"),
        (lambda train, test: (_scaler(train.T)(train.T).T, _scaler(test.T)(test.T).T), "which axis"),
        (_dead_feature_forgotten, "not finite"),
    ],
    "07.2": [
        (_aliased, "calls every network frozen"),
        (_parameters_only, "what batch norm keeps"),
        (lambda network, images: network.training is False, "as a whole"),
        (lambda network, images: {part.training for part in network.modules()} == {False}, "asks for modes"),
        (lambda network, images: not next(network.parameters()).requires_grad, "could"),
    ],
    "07.3": [
        (lambda *case: _picked(*case, "cosine", np.argmin), "angle"),
        (lambda *case: _picked(*case, "euclidean", np.argmax), "farthest"),
        (lambda a, a_labels, b, b_labels: 100 * _centroids(b, b_labels, b, b_labels), "know the labels"),
        (_centroids, "in %"),
    ],
}
