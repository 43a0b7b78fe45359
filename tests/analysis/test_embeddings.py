"""t-SNE and UMAP: seeded, with settings, clear about bad input."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from sklearn.metrics import pairwise_distances

from dcd_utils import analysis
from dcd_utils.analysis import embeddings

RNG = np.random.default_rng(0)
LABELS = np.arange(120) % 3
FEATURES = (10 * np.eye(3, 6)[LABELS] + RNG.normal(size=(120, 6))).astype(np.float32)


def test_tsne_is_seeded_and_keeps_neighbours():
    first, again = (analysis.tsne(FEATURES, seed=1, perplexity=10, max_iter=300) for _ in range(2))
    assert first.points.shape == (120, 2) and first.points.dtype == np.float32
    np.testing.assert_array_equal(first.points, again.points)
    assert analysis.silhouette(first.points, LABELS) > 0.5
    assert first.settings["perplexity"] == 10 and first.settings["seed"] == 1 and first.settings["images"] == 120
    assert first.caption.startswith("t-SNE of 120 images, 6 features as they are; perplexity 10")


def test_standardising_is_stated_and_undoes_a_scale():
    scaled = FEATURES * np.array([1024, 1, 1, 1, 1, 1], dtype=np.float32)  # a power of two: no rounding
    settings = {"perplexity": 10, "max_iter": 250, "standardise": True}
    plain, undone = analysis.tsne(FEATURES, **settings), analysis.tsne(scaled, **settings)
    assert plain.settings["standardised"] and "6 features, standardised" in plain.caption
    np.testing.assert_array_equal(plain.points, undone.points)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((60, 16)), "same for every image .*60 images, numbers up to 0 differ by 0"),
        (np.full((60, 16), 0.1, np.float32), "same for every image"),
        (1e-30 * FEATURES, "same for every image .*differ by"),
        (FEATURES.astype(float) + 1e20, "same for every image"),
        (1e30 * FEATURES, "too large to be squared"),
        (1e200 * FEATURES.astype(float), "too large to be squared"),
        (FEATURES[:1], "same for every image .*1 images"),
    ],
    ids=["zeros", "equal", "1e-30", "beside 1e20", "1e30", "1e200", "one image"],
)
def test_features_without_a_map_are_refused(features, message):
    """scikit-learn's t-SNE would end the process, and a map of nothing but rounding looks like any other."""
    others = np.random.default_rng(1).normal(size=(len(features), 4))
    for draw in (analysis.tsne, analysis.umap, lambda features: analysis.aligned_umap([others, features])):
        if len(features) > 1 or draw in (analysis.tsne, analysis.umap):
            with pytest.raises(ValueError, match=message):
                draw(features)


def test_the_direction_counts_for_cosine_and_the_spread_after_standardising():
    one_way = np.linspace(1, 2, 60)[:, None] * np.ones(4)
    with pytest.raises(ValueError, match="direction of features: the same"):
        analysis.tsne(one_way, metric="cosine")
    settings = {"perplexity": 10, "max_iter": 250, "standardise": True}
    features = FEATURES.astype(np.float64)
    plain, small, large = (analysis.tsne(factor * features, **settings).points for factor in (1, 2.0**-700, 2.0**700))
    np.testing.assert_array_equal(small, plain)
    np.testing.assert_array_equal(large, plain)


@pytest.mark.parametrize("draw", [lambda x: analysis.tsne(x, perplexity=5, max_iter=250), analysis.umap])
@pytest.mark.parametrize("features", [FEATURES[:, :1], np.repeat(FEATURES[:20], 3, axis=0)], ids=["one", "duplicates"])
def test_a_single_feature_and_duplicates_have_a_map(draw, features):
    embedding = draw(features)
    assert np.isfinite(embedding.points).all() and np.ptp(embedding.points) > 1
    if embedding.method == "t-SNE":
        assert embedding.settings["init"] == ("pca" if features.shape[1] > 1 else "random")


def test_umap_is_seeded_and_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ImportWarning)  # umap-learn looks for TensorFlow
        warnings.simplefilter("ignore", DeprecationWarning)
        first, again = (analysis.umap(FEATURES, seed=2, n_neighbors=8) for _ in range(2))
    np.testing.assert_array_equal(first.points, again.points)
    assert not np.array_equal(first.points, analysis.umap(FEATURES, seed=3, n_neighbors=8).points)
    assert analysis.silhouette(first.points, LABELS) > 0.5
    assert first.method == "UMAP" and first.settings["metric"] == "euclidean" and first.settings["n_neighbors"] == 8


def test_pytorch_has_as_many_threads_after_umap_as_before():
    """In a process of its own: numba sets their number once, when it starts."""
    code = "import torch; from dcd_utils import analysis; analysis.umap(torch.eye(40)); print(torch.get_num_threads())"
    command = [sys.executable, "-W", "ignore", "-c", code]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"}
    run = subprocess.run(command, capture_output=True, encoding="utf-8", env=settings)
    assert run.stdout.split() == ["1"], run.stderr


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_the_graph_links_the_exact_neighbours(metric):
    settings = {"n_neighbors": 8, "min_dist": 0.1, "metric": metric}
    graph = embeddings._fit_umap(FEATURES, settings, 2, n_epochs=0).graph_.toarray() > 0
    found = pairwise_distances(FEATURES, metric=metric).argsort(axis=1)[:, 1:8]  # the first is the image itself
    near = np.zeros_like(graph)
    np.put_along_axis(near, found, True, axis=1)
    np.testing.assert_array_equal(graph, near | near.T)


def test_aligned_umap_lays_the_same_image_in_the_same_place():
    rotated = FEATURES @ np.linalg.qr(RNG.normal(size=(6, 6)))[0].astype(np.float32)
    wider = np.concatenate([rotated, 0.1 * RNG.normal(size=(120, 3))], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        maps, again = (analysis.aligned_umap([FEATURES, wider], n_neighbors=8, epochs=60) for _ in range(2))
    assert [one.method for one in maps] == ["aligned UMAP"] * 2 and [one.settings["width"] for one in maps] == [6, 9]
    for one, other in zip(maps, again, strict=True):
        np.testing.assert_array_equal(one.points, other.points)
    assert apart(*maps) < 0.5
    assert analysis.silhouette(maps[1].points, LABELS) > 0.5


def apart(one, other):
    """How far the same image lies from itself, in units of the distance to any image."""
    shuffled = other.points[np.random.default_rng(0).permutation(len(other.points))]
    same, different = (np.linalg.norm(one.points - points, axis=1).mean() for points in (other.points, shuffled))
    return same / different


def test_every_map_is_pulled_to_the_first_and_the_first_to_none():
    noisy = [FEATURES + RNG.normal(scale=3, size=FEATURES.shape) for _ in range(3)]
    loose, tight = (analysis.aligned_umap([FEATURES, *noisy], 0, 8, epochs=60, alignment=a) for a in (1e-6, 1.0))
    np.testing.assert_array_equal(loose[0].points, tight[0].points)
    for free, pulled in zip(loose[1:], tight[1:], strict=True):
        assert apart(tight[0], pulled) < 0.5 * apart(loose[0], free)


def test_aligned_maps_are_packed_as_told():
    close, wide = (analysis.aligned_umap([FEATURES] * 2, 0, 8, min_dist, epochs=60)[0] for min_dist in (0.01, 0.9))

    def nearest(points):
        return np.sort(pairwise_distances(points), axis=1)[:, 1].mean()

    assert nearest(close.points) < 0.6 * nearest(wide.points)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="perplexity=120 was given for 120 images"):
        analysis.tsne(FEATURES, perplexity=120)
    with pytest.raises(ValueError, match="n_neighbors=120 .* 2 to 119"):
        analysis.umap(FEATURES, n_neighbors=120)
    with pytest.raises(ValueError, match="features 0 has 120 rows and features 1 has 90"):
        analysis.aligned_umap([FEATURES, FEATURES[:90]])
    with pytest.raises(ValueError, match="at least two"):
        analysis.aligned_umap([FEATURES])
    with pytest.raises(ValueError, match="NaN"):
        analysis.tsne(np.where(FEATURES > 9, np.nan, FEATURES))
    with pytest.raises(ValueError, match=r"expected \[N, D\]"):
        analysis.umap(FEATURES[0])


def test_importing_analysis_loads_no_slow_library():
    code = "import sys, dcd_utils.analysis; print(sorted({'sklearn', 'umap', 'numba'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, encoding="utf-8")
    assert found.stdout.strip() == "[]"
