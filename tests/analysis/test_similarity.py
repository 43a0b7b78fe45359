"""CKA, neighbours, silhouette, trustworthiness: closed forms and plain evaluations."""

import numpy as np
import pytest

from dcd_utils import analysis

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 8))
Y = X @ RNG.normal(size=(8, 5)) + RNG.normal(size=(50, 5))
ROTATION = np.linalg.qr(RNG.normal(size=(8, 8)))[0]


@pytest.mark.parametrize("debiased", [True, False])
def test_cka_ignores_rotation_shift_and_factor(debiased):
    assert analysis.linear_cka(X, 3 * X @ ROTATION + 7, debiased) == pytest.approx(1, abs=1e-12)
    assert analysis.linear_cka(X, Y, debiased) == pytest.approx(
        analysis.linear_cka(Y, X @ ROTATION, debiased), abs=1e-12
    )


def test_plain_cka_agrees_with_the_kernels():
    centre = np.eye(50) - 1 / 50
    k, m = centre @ X @ X.T @ centre, centre @ Y @ Y.T @ centre
    expected = (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())
    assert analysis.linear_cka(X, Y, debiased=False) == pytest.approx(expected, abs=1e-12)


def test_debiased_cka_agrees_with_the_kernels():
    def hsic(k, m):
        k, m, n = k * (1 - np.eye(50)), m * (1 - np.eye(50)), 50
        return (np.trace(k @ m) + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 * (k @ m).sum() / (n - 2)) / (n * (n - 3))

    k, m = X @ X.T, Y @ Y.T
    expected = hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))
    assert analysis.linear_cka(X, Y) == pytest.approx(expected, abs=1e-12)


def test_independent_noise_misleads_only_the_plain_cka():
    a, b = RNG.normal(size=(2, 60, 300))
    assert analysis.linear_cka(a, b, debiased=False) > 0.7
    assert abs(analysis.linear_cka(a, b)) < 0.1


def test_cka_refuses_bad_input():
    with pytest.raises(ValueError, match="50 rows and y has 49"):
        analysis.linear_cka(X, Y[:49])
    with pytest.raises(ValueError, match="at least 4"):
        analysis.linear_cka(X[:3], Y[:3])
    with pytest.raises(ValueError, match="same for every image"):
        analysis.linear_cka(np.ones_like(X), Y)
    with pytest.raises(ValueError, match="x: 1 of 50 rows"):
        analysis.linear_cka(np.where(np.arange(50)[:, None] == 3, np.inf, X), Y)


@pytest.mark.parametrize(
    "features",
    [0 * X, 0 * X + 3.7, np.full_like(X, 0.1, np.float32), X + 1e20, (X + 1e9).astype(np.float32)],
    ids=["zeros", "equal", "float32", "beside 1e20", "beside 1e9"],
)
def test_nothing_is_said_of_features_that_are_the_same_for_all(features):
    labels = np.arange(50) % 2
    for measure in (
        lambda: analysis.linear_cka(features, Y), lambda: analysis.linear_cka(Y, features, debiased=False),
        lambda: analysis.knn_accuracy(features, labels, X, labels), lambda: analysis.silhouette(features, labels),
        lambda: analysis.trustworthiness(features, X[:, :2]), lambda: analysis.trustworthiness(X, features[:, :2]),
        lambda: analysis.neighbour_overlap(X, features), lambda: analysis.neighbour_overlap(features, X),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="same for every image"):
            measure()


@pytest.mark.parametrize("factor", [2.0**-700, 2.0**700])
def test_what_knows_no_unit_neither_vanishes_nor_overflows(factor):
    labels = np.arange(50) % 3
    for measure in (
        lambda x: analysis.linear_cka(x, Y), lambda x: analysis.linear_cka(x, Y, debiased=False),
        lambda x: analysis.knn_accuracy(x, labels, x[::-1], labels, k=5), lambda x: analysis.neighbour_overlap(x, Y),
    ):  # fmt: skip
        assert measure(factor * X) == measure(X)
    for measure in (analysis.silhouette, lambda x, _: analysis.trustworthiness(x, X[:, :2])):
        with pytest.raises(ValueError, match="same for every image" if factor < 1 else "too large to be squared"):
            measure(factor * X, labels)


def test_cka_sees_what_varies_beside_a_large_constant():
    beside = np.concatenate([X, np.full((50, 1), 2.0**30)], axis=1).astype(np.float32)
    assert analysis.linear_cka(beside, Y) == pytest.approx(analysis.linear_cka(X, Y), abs=1e-6)


def test_knn_goes_by_angle():
    train = np.array([[1.0, 0], [0, 1]])
    # Nearer to [0, 1] by distance, to [1, 0] by angle.
    test = np.array([[0.1, 0.02], [0.3, 9]])
    assert analysis.knn_accuracy(train, [0, 1], test, [0, 1], k=1) == 100
    assert analysis.knn_accuracy(train, [0, 1], test, [0, 0], k=1) == 50


def test_knn_agrees_with_a_plain_evaluation():
    labels = RNG.integers(0, 3, size=50)
    train, test = X[:40] / np.linalg.norm(X[:40], axis=1, keepdims=True), X[40:]
    nearest = np.argsort(-test @ train.T, axis=1)[:, :5]
    votes = np.stack([np.bincount(labels[row], minlength=3) for row in nearest])
    expected = 100 * np.mean(votes.argmax(axis=1) == labels[40:])
    assert analysis.knn_accuracy(X[:40], labels[:40], test, labels[40:], k=5) == pytest.approx(expected)


def test_knn_refuses_bad_input():
    with pytest.raises(ValueError, match="k=41 .* 40 candidates"):
        analysis.knn_accuracy(X[:40], np.zeros(40, int), X[40:], np.zeros(10, int), k=41)
    with pytest.raises(ValueError, match="8 columns, test features 7"):
        analysis.knn_accuracy(X[:40], np.zeros(40, int), X[40:, :7], np.zeros(10, int))


def test_silhouette_by_hand():
    # Within 1 apart, to the other class 10 or 11 (9 or 10 for the inner points): 1 - 1 / 10.5 and 1 - 1 / 9.5.
    points = np.array([[0.0], [1], [10], [11]])
    assert analysis.silhouette(points, [0, 0, 1, 1]) == pytest.approx(1 - (1 / 10.5 + 1 / 9.5) / 2)
    with pytest.raises(ValueError, match="1 classes among 4 images"):
        analysis.silhouette(points, [0, 0, 0, 0])


def test_trustworthiness_is_one_for_the_features_themselves():
    assert analysis.trustworthiness(X[:, :2], X[:, :2], k=5) == 1
    assert analysis.trustworthiness(X, RNG.normal(size=(50, 2)), k=5) < 0.7
    with pytest.raises(ValueError, match="choose 1 to 24"):
        analysis.trustworthiness(X, X[:, :2], k=25)
    with pytest.raises(ValueError, match="same image"):
        analysis.trustworthiness(X, X[:40, :2])


def test_neighbour_overlap():
    assert analysis.neighbour_overlap(X, X) == 1
    assert analysis.neighbour_overlap(X, 3 * X @ ROTATION) == 1
    assert analysis.neighbour_overlap(X, Y, k=49) == 1  # all others are everybody's neighbours
    noise = RNG.normal(size=(2, 400, 20))
    assert analysis.neighbour_overlap(*noise, k=10) == pytest.approx(10 / 399, abs=0.02)


def test_neighbour_overlap_agrees_with_sets():
    def nearest(values):
        unit = values / np.linalg.norm(values, axis=1, keepdims=True)
        cosines = unit @ unit.T
        np.fill_diagonal(cosines, -2)
        return [set(row[:6]) for row in np.argsort(-cosines, axis=1)]

    expected = np.mean([len(a & b) / 6 for a, b in zip(nearest(X), nearest(Y), strict=True)])
    assert analysis.neighbour_overlap(X, Y, k=6) == pytest.approx(expected)


def test_neighbour_overlap_refuses_bad_input():
    with pytest.raises(ValueError, match="choose 1 to 49"):
        analysis.neighbour_overlap(X, Y, k=50)
    with pytest.raises(ValueError, match="same image"):
        analysis.neighbour_overlap(X, Y[:30])
