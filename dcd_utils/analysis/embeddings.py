"""Maps of a representation in two dimensions: t-SNE (scikit-learn) and UMAP (umap-learn), seeded.

Neither preserves distances between far-apart groups, sizes of groups or densities: read who is whose neighbour, and
put a number beside it (`trustworthiness`). Features that are the same for all images, or nearly so, have no map.
"""

import warnings
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from dcd_utils.analysis import checks
from dcd_utils.analysis.similarity import unit


@dataclass(frozen=True)
class Embedding:
    """A map: points float32 [N, 2], row i for image i; the method; and all settings needed to draw it again."""

    points: np.ndarray
    method: str
    settings: dict

    @property
    def caption(self) -> str:
        """Method and settings in one line, to be printed under a picture."""
        settings = dict(self.settings)
        treatment = ", standardised" if settings.pop("standardised") else " as they are"
        data = f"{settings.pop('images'):,} images, {settings.pop('width')} features{treatment}"
        pairs = (f"{name.replace('_', ' ')} {value}" for name, value in settings.items())
        return f"{self.method} of {data}; {', '.join(pairs)}"


def tsne(features, seed: int = 0, perplexity: float = 30.0, standardise: bool = False, metric: str = "euclidean",
         max_iter: int = 1000) -> Embedding:
    """t-SNE of features [N, D] (van der Maaten and Hinton 2008; Barnes-Hut, started from the principal components). The
    perplexity, above 0 and below N or it raises ValueError, is roughly how many neighbours each image attends to;
    `standardise` first brings each feature to mean 0 and variance 1."""
    from sklearn.manifold import TSNE

    features = _prepare(features, standardise, metric)
    if not 0 < perplexity < (count := len(features)):
        raise ValueError(f"perplexity={perplexity} was given for {count} images: it must be above 0 and below {count}")
    init = "pca" if features.shape[1] > 1 else "random"  # one feature has one component
    settings = {"perplexity": float(perplexity), "metric": metric, "init": init, "max_iter": max_iter}
    points = TSNE(2, random_state=seed, learning_rate="auto", **settings).fit_transform(features)
    return _embedding(points, "t-SNE", settings, features, standardise, seed)


def umap(features, seed: int = 0, n_neighbors: int = 15, min_dist: float = 0.1, standardise: bool = False,
         metric: str = "euclidean") -> Embedding:
    """UMAP of features [N, D] (McInnes, Healy and Melville 2018, arXiv:1802.03426).

    Args:
        n_neighbors: neighbours of each image in the graph that is drawn, itself included; 2 to N - 1, or it raises
            ValueError. Few show fine detail, many the whole.
        min_dist, standardise: how tightly points may be packed; as for `tsne`.
    """
    features = _prepare(features, standardise, metric)
    settings = _umap_settings(n_neighbors, min_dist, metric, len(features))
    points = _fit_umap(features, settings, seed).embedding_
    return _embedding(points, "UMAP", settings, features, standardise, seed)


@contextmanager
def _threads_kept():
    """numba, when it starts, sets the number of OpenMP's threads to that of the cores, and PyTorch's with it."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


@_threads_kept()
def aligned_umap(features_list, seed: int = 0, n_neighbors: int = 15, min_dist: float = 0.1, standardise: bool = False,
                 metric: str = "euclidean", alignment: float = 0.01, epochs: int = 200) -> list[Embedding]:
    """UMAP of several networks at once, each image pulled to the place that it has in the first map.

    Separate maps differ by rotation, reflection and chance; aligned ones can be compared by eye. The first map is drawn
    from its own features alone. All start from its start and are moved by umap-learn's optimiser of AlignedUMAP, which
    pulls an image the more, the more of its neighbours two networks share (AlignedUMAP itself pulls along the list).

    Args:
        features_list: one [N, D_i] for each of two or more networks, the same images in the same order.
        n_neighbors, min_dist, standardise, metric: as for `umap`.
        alignment, epochs: strength of the pull; passes of the optimiser, to which time grows in proportion.
    """
    from numba.typed import List  # as compiled code wants it
    from umap.layouts import optimize_layout_aligned_euclidean
    from umap.umap_ import make_epochs_per_sample

    if len(features_list) < 2:
        raise ValueError(f"{len(features_list)} representation was given: pass at least two to align, or call umap")
    features_list = checks.same_images({f"features {i}": features for i, features in enumerate(features_list)})
    prepared = [_prepare(features, standardise, metric, f"features {i}") for i, features in enumerate(features_list)]
    networks, count = len(prepared), len(prepared[0])
    settings = _umap_settings(n_neighbors, min_dist, metric, count)
    fitted = [_fit_umap(features, settings, seed, n_epochs=0) for features in prepared]
    graphs = [one.graph_.tocoo() for one in fitted]
    # the optimiser looks at the maps -window to window - 1 places along the list; here only the first one counts
    window = networks - 1
    same_image = np.full((networks, 2 * window + 1, count), -1, np.int32)
    pull = np.zeros(same_image.shape, np.float32)
    for place in range(1, networks):
        same_image[place, window - place] = np.arange(count)
        pull[place, window - place] = _likeness(graphs[place], graphs[0]) * np.exp(place - 1)  # undoes its own fading
    maps = optimize_layout_aligned_euclidean(
        *[List([fitted[0].embedding_.copy() for _ in graphs])] * 2,
        List([graph.row for graph in graphs]), List([graph.col for graph in graphs]),
        epochs, List([make_epochs_per_sample(graph.data, epochs) for graph in graphs]),
        pull, same_image, np.random.RandomState(seed).randint(2**31 - 1, size=3), fitted[0]._a, fitted[0]._b,
        lambda_=alignment, move_other=True, parallel=False,
    )  # fmt: skip
    about = "aligned UMAP", settings | {"alignment": alignment, "epochs": epochs}
    return [_embedding(points, *about, rows, standardise, seed) for points, rows in zip(maps, prepared, strict=True)]


def _prepare(features, standardise, metric, name="features"):
    from sklearn.preprocessing import StandardScaler

    features = checks.matrix(features, name)
    features = StandardScaler().fit_transform(checks.scaled(features, axis=0)) if standardise else features
    if metric == "cosine":
        checks.varying(unit(features), f"the direction of {name}")
    return checks.varying(features, name, dtype=np.float32)  # what both methods compute in


@_threads_kept()
def _fit_umap(features, settings, seed, **options):
    """A fitted UMAP. umap-learn's own search for neighbours compiles for six seconds and more before it begins, so they
    are given: all exact, by scikit-learn, in milliseconds."""
    from sklearn.neighbors import NearestNeighbors
    from umap import UMAP

    search = NearestNeighbors(n_neighbors=settings["n_neighbors"], metric=settings["metric"], algorithm="brute")
    distances, indices = search.fit(features).kneighbors(features)  # each image's first neighbour is itself
    options |= {"precomputed_knn": (indices, distances), "random_state": seed, "transform_seed": seed, "n_jobs": 1}
    with warnings.catch_warnings():  # it says that no images can be added to such a map
        warnings.filterwarnings("ignore", "precomputed_knn", UserWarning)
        return UMAP(**settings, **options).fit(features)


def _likeness(*graphs):
    """Share of each image's neighbours in either of two graphs [N, N] that it has in both: [N]."""
    graph, other = (edges.tocsr() > 0 for edges in graphs)
    both, all_of_them = (np.asarray(pairs.sum(axis=1)).ravel() for pairs in (graph.multiply(other), graph + other))
    return both / np.maximum(all_of_them, 1)


def _umap_settings(n_neighbors, min_dist, metric, count):
    if not 2 <= n_neighbors < count or count < 4:
        given = f"n_neighbors={n_neighbors} was given for {count} images"
        raise ValueError(f"{given}: it must be 2 to {count - 1}, of at least 4 images")
    return {"n_neighbors": int(n_neighbors), "min_dist": min_dist, "metric": metric}


def _embedding(points, method, settings, features, standardise, seed):
    if not np.isfinite(points).all():
        raise ValueError(f"{method} lost {int(np.isnan(points).any(axis=1).sum())} images: raise n_neighbors")
    about = {"standardised": bool(standardise), "images": len(features), "width": features.shape[1]}
    return Embedding(np.ascontiguousarray(points, dtype=np.float32), method, {**settings, "seed": seed, **about})
