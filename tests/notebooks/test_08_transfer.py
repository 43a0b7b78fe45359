"""Notebook 08: what it writes out for teaching computes what the package and scikit-learn compute."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from notebook_code import definitions
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import StandardScaler

from dcd_utils import analysis, data, models


@pytest.fixture(scope="module")
def taught():
    return definitions("08_transfer", PAIRS=())


@pytest.fixture(scope="module")
def probed():
    """An untrained network, images of 16 classes, and their features."""
    network = models.create("resnet8", 20, seed=0)
    sets = data.load("new_shapes", device="cpu", train_size=240, test_size=80)
    return network, sets, [analysis.extract(network, image_set) for image_set in sets]


@pytest.mark.parametrize("seed", [0, 3])
def test_the_probe_is_that_of_the_package(taught, probed, seed):
    network, sets, features = probed
    expected = analysis.linear_probe(network, *sets, seed=seed)
    predicted, C = taught.probe(*features, seed=seed)
    assert C == expected.C
    np.testing.assert_array_equal(predicted, expected.predictions)
    assert taught.accuracy(predicted, features[1].labels) == pytest.approx(expected.accuracy)


@pytest.mark.parametrize("C", [0.01, 1.0])
def test_the_softmax_regression_is_at_the_minimum(taught, C):
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    x = rng.normal(size=(90, 4)) + np.eye(3, 4)[labels]
    weights, biases = taught.softmax_regression(x, labels, 3, C)
    parameters = [torch.tensor(values, requires_grad=True) for values in (weights, biases)]
    loss = C * F.cross_entropy(torch.tensor(x) @ parameters[0] + parameters[1], torch.tensor(labels), reduction="sum")
    slopes = torch.autograd.grad(loss + parameters[0].square().sum() / 2, parameters)
    assert max(slope.abs().max() for slope in slopes) < 1e-4
    library = LogisticRegression(C=C, tol=1e-8, max_iter=1000).fit(x, labels)
    np.testing.assert_allclose(weights, library.coef_.T, atol=1e-4)
    # a constant added to all biases changes no prediction
    np.testing.assert_allclose(biases - biases.mean(), library.intercept_ - library.intercept_.mean(), atol=1e-3)


def test_the_solutions_agree_with_scikit_learn(taught, probed):
    _, _, (seen, unseen) = probed
    scaler = StandardScaler().fit(seen.pooled)
    expected = [scaler.transform(features.pooled) for features in (seen, unseen)]
    for mine, theirs in zip(taught.standardised(seen.pooled, unseen.pooled), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-3)
    parts = (seen.pooled, seen.labels, unseen.pooled, unseen.labels)
    library = NearestCentroid().fit(*parts[:2]).score(*parts[2:])
    assert taught.nearest_centre_accuracy(*parts) == pytest.approx(100 * library)


def test_batch_norm_in_train_mode_is_not_frozen(taught, probed):
    network, (train, _), _ = probed
    images = train.batch(torch.arange(8))
    assert taught.stays_frozen(network.eval(), images)
    assert not taught.stays_frozen(network.train(), images)
    network.eval()
