"""Notebooks 04 and 05: what they write out for teaching computes what the package computes."""

from types import SimpleNamespace

import numpy as np
import pytest
from notebook_code import definitions

from dcd_utils import analysis


@pytest.fixture(scope="module")
def embeddings():
    return definitions("04_embeddings")


@pytest.fixture(scope="module")
def correlation():
    return definitions("05_correlation_matrices")


@pytest.fixture(scope="module")
def networks():
    """Features of a teacher [90, 12] and of a student [90, 7] that resembles it, and labels of 5 classes."""
    rng = np.random.default_rng(0)
    teacher = rng.normal(size=(90, 12)) + 0.5
    student = teacher @ rng.normal(size=(12, 7)) + rng.normal(size=(90, 7)) + 1.0
    return teacher, student, np.arange(90) % 5


@pytest.fixture(scope="module")
def logits():
    rng = np.random.default_rng(1)
    teacher = 4 * rng.normal(size=(60, 6)) @ rng.normal(size=(6, 6)) + rng.normal(size=6)
    return 0.5 * teacher + rng.normal(size=teacher.shape), teacher, np.arange(60) % 6


@pytest.mark.parametrize("k", [1, 10])
def test_neighbour_overlap(embeddings, networks, k):
    teacher, student, _ = networks
    expected = analysis.neighbour_overlap(teacher, student, k=k)
    assert 0 < expected < 1
    assert embeddings.neighbour_overlap(teacher, student, k) == pytest.approx(expected, abs=1e-12)
    lists = (embeddings.nearest(features, k) for features in (teacher, student))
    assert embeddings.shared(*lists) == pytest.approx(expected, abs=1e-12)


def test_few_images_have_fewer_neighbours_and_may_have_no_silhouette(embeddings, networks):
    few = networks[0][:5]
    assert embeddings.nearest(few, 10).shape == embeddings.nearest_points(few[:, :2], 10).shape == (5, 4)
    assert all(i not in row for i, row in enumerate(embeddings.nearest(few, 10)))
    assert embeddings.neighbour_overlap(few, networks[1][:5], k=10) == 1
    assert np.isnan(embeddings.silhouette(few, np.arange(5))) and np.isnan(embeddings.silhouette(few, np.zeros(5, int)))
    assert embeddings.silhouette(few, [0, 0, 0, 1, 1]) == analysis.silhouette(few, [0, 0, 0, 1, 1])


def test_the_mean_of_a_class_without_an_image(correlation, logits):
    found = correlation.class_means(logits[0], np.arange(60) % 5, 6)
    assert np.isnan(found[5]).all()
    np.testing.assert_array_equal(found[:5], correlation.class_means(logits[0], np.arange(60) % 5, 5))


@pytest.mark.parametrize("images", [8, 90])
def test_both_forms_of_cka(embeddings, networks, images):
    teacher, student = (features[:images] for features in networks[:2])
    plain, debiased = (analysis.linear_cka(teacher, student, debiased=which) for which in (False, True))
    assert embeddings.plain_cka(teacher, student) == pytest.approx(plain, abs=1e-10)
    assert embeddings.debiased_cka(teacher, student) == pytest.approx(debiased, abs=1e-10)
    assert embeddings.kernel_alignment(teacher @ teacher.T, student @ student.T) == pytest.approx(plain, abs=1e-10)


def test_nearest_points_in_a_map(embeddings, networks):
    from sklearn.neighbors import NearestNeighbors

    points = networks[0][:, :2]
    expected = NearestNeighbors(n_neighbors=4).fit(points).kneighbors(return_distance=False)
    assert (embeddings.nearest_points(points, 4) == expected).all()


def test_knn_accuracy(embeddings, networks):
    teacher, _, labels = networks
    features = teacher + 2 * np.eye(12)[labels]
    arguments = (features[:60], labels[:60], features[60:], labels[60:], 1)
    expected = analysis.knn_accuracy(*arguments)
    assert 20 < expected < 100
    assert embeddings.knn_accuracy(*arguments) == pytest.approx(expected)


def test_retrieval(embeddings):
    rng = np.random.default_rng(2)
    teacher = rng.normal(size=(64, 5))
    student = teacher + 0.6 * rng.normal(size=teacher.shape)
    unit = embeddings.unit
    among_all = embeddings.retrieval(unit(student), unit(teacher), 64)
    among_few = embeddings.retrieval(unit(student), unit(teacher), 16)
    assert 5 < among_all < among_few < 100
    assert embeddings.top_k_retrieval(student, teacher, 1) == pytest.approx(among_all)


def test_class_means_and_correlation(correlation, logits):
    student, _, labels = logits
    expected = analysis.class_means(student, labels, 6)
    np.testing.assert_allclose(correlation.class_means(student, labels, 6), expected, atol=1e-12)
    matrix, expected = correlation.class_correlation(student), analysis.class_correlation(student)
    np.testing.assert_allclose(matrix, expected, atol=1e-12)
    off_diagonal = np.abs(expected[~np.eye(6, dtype=bool)]).mean()
    assert correlation.mean_difference(matrix, np.eye(6)) == pytest.approx(off_diagonal)


@pytest.mark.parametrize("standardise", [False, True])
def test_logit_difference(correlation, logits, standardise):
    student, teacher, labels = logits
    expected = analysis.logit_difference(student, teacher, labels, standardise=standardise)
    matrix = correlation.logit_difference(student, teacher, labels, standardise=standardise)
    np.testing.assert_allclose(matrix, expected, atol=1e-12)


def test_the_standardised_plot_is_the_plot_of_standardised_logits(correlation, logits):
    student, teacher, labels = logits
    expected = analysis.logit_difference(student, teacher, labels, standardise=True)
    treated = (correlation.standardised(network_logits) for network_logits in (student, teacher))
    matrix = correlation.logit_difference(*treated, labels, standardise=False)
    np.testing.assert_allclose(matrix, expected, atol=1e-12)


def test_what_each_measure_does_not_see(logits):
    """Section 6 of notebook 05: three changes of logits, and who misses which."""
    student, teacher, labels = logits
    named = {"test": SimpleNamespace(num_classes=6), "labels": labels, "rng": np.random.default_rng(2)}
    code = definitions("05_correlation_matrices", **named)
    raised = student + 5 * (np.arange(6) == 3)
    changes = {"doubled": 2 * student, "raised": raised, "exchanged": code.exchanged(student)}
    seen = {}
    for name, changed in changes.items():
        both = student, changed
        correlations = [code.class_correlation(values) for values in both]
        published = [code.logit_difference(values, teacher, labels) for values in both]
        plain = [code.logit_difference(values, teacher, labels, standardise=False) for values in both]
        pairs = {"correlation": correlations, "published": published, "plain": plain}
        seen[name] = {measure for measure, pair in pairs.items() if np.abs(pair[0] - pair[1]).max() > 1e-9}
    assert seen["doubled"] == {"plain"}
    assert seen["raised"] == {"published", "plain"}
    assert seen["exchanged"] == {"correlation", "published"}
