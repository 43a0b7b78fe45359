"""Maps of a representation in two dimensions: t-SNE (scikit-learn) and UMAP (umap-learn), seeded.

Neither preserves distances between far-apart groups, sizes of groups or densities: read who is whose neighbour, and
put a number beside it (`trustworthiness`).
"""

import warnings
from dataclasses import dataclass

import numpy as np

from dcd_utils.analysis import checks

MANY = 4096  # from so many images on, umap-learn searches for neighbours instead of computing all distances


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


def tsne(
    features, seed: int = 0, perplexity: float = 30.0, standardise: bool = False, metric: str = "euclidean",
    max_iter: int = 1000,
) -> Embedding:
    """t-SNE of features [N, D] (van der Maaten and Hinton 2008; Barnes-Hut, started from the principal components).

    Args:
        perplexity: roughly how many neighbours each image attends to; above 0 and below N, or it raises ValueError.
        standardise: first bring each feature to mean 0 and variance 1.
    """
    from sklearn.manifold import TSNE

    features = _prepare(features, standardise)
    if not 0 < perplexity < len(features):
        count = len(features)
        raise ValueError(f"perplexity={perplexity} was given for {count} images: it must be above 0 and below {count}")
    settings = {"perplexity": float(perplexity), "metric": metric, "init": "pca", "max_iter": max_iter}
    points = TSNE(2, random_state=seed, learning_rate="auto", **settings).fit_transform(features)
    return _embedding(points, "t-SNE", settings, features, standardise, seed)


def umap(
    features, seed: int = 0, n_neighbors: int = 15, min_dist: float = 0.1, standardise: bool = False,
    metric: str = "euclidean",
) -> Embedding:
    """UMAP of features [N, D] (McInnes, Healy and Melville 2018, arXiv:1802.03426).

    Args:
        n_neighbors: neighbours of each image in the graph that is drawn, itself included; 2 to N - 1, or it raises
            ValueError. Few show fine detail, many the whole.
        min_dist: how tightly points may be packed.
        standardise: first bring each feature to mean 0 and variance 1.
    """
    from umap import UMAP

    features = _prepare(features, standardise)
    settings = _umap_settings(n_neighbors, min_dist, metric, len(features))
    data, options = _distances(features, settings)
    if len(features) >= MANY:
        options = {**options, "precomputed_knn": _neighbours(features, settings)}
    points = _fit(UMAP(random_state=seed, transform_seed=seed, n_jobs=1, **options), data)
    return _embedding(points, "UMAP", settings, features, standardise, seed)


def aligned_umap(
    features_list, seed: int = 0, n_neighbors: int = 15, min_dist: float = 0.1, standardise: bool = False,
    metric: str = "euclidean", alignment: float = 0.01, epochs: int = 200,
) -> list[Embedding]:
    """UMAP of several networks at once, each image pulled to the same place in all of them (umap-learn's AlignedUMAP).

    Separate maps differ by rotation, reflection and chance; aligned ones can be compared by eye.

    Args:
        features_list: one [N, D_i] for each of two or more networks, the same images in the same order.
        n_neighbors, min_dist, standardise, metric: as for `umap`.
        alignment: strength of the pull that holds an image in place from one network to the next.
        epochs: passes of the optimiser; time grows in proportion.
    """
    import numba
    from umap import AlignedUMAP

    if len(features_list) < 2:
        raise ValueError(f"{len(features_list)} representation was given: pass at least two to align, or call umap")
    features_list = checks.same_images({f"features {i}": features for i, features in enumerate(features_list)})
    prepared = [_prepare(features, standardise) for features in features_list]
    count = len(prepared[0])
    settings = _umap_settings(n_neighbors, min_dist, metric, count)
    data, options = zip(*(_distances(features, settings) for features in prepared), strict=True)
    same_image = [dict(enumerate(range(count))) for _ in prepared[1:]]
    # the pull reaches two networks along the list: the cost grows with this window
    options = {**options[0], "alignment_regularisation": alignment, "alignment_window_size": 2, "n_epochs": epochs}
    mapper = AlignedUMAP(random_state=seed, transform_seed=seed, **options)
    threads = numba.get_num_threads()
    numba.set_num_threads(1)  # its epochs are too short to share: threads would only wait for each other
    try:
        maps = _fit(mapper, data, relations=same_image)
    finally:
        numba.set_num_threads(threads)
    settings |= {"alignment": alignment, "epochs": epochs}
    pairs = zip(maps, prepared, strict=True)
    return [_embedding(points, "aligned UMAP", settings, features, standardise, seed) for points, features in pairs]


def _prepare(features, standardise):
    from sklearn.preprocessing import StandardScaler

    features = checks.matrix(features, "features")
    return StandardScaler().fit_transform(features) if standardise else features


def _distances(features, settings):
    """What to hand to umap-learn, and with which settings. Below `MANY` images umap-learn computes all distances one
    Python call at a time; scikit-learn takes a hundredth of the time."""
    if len(features) >= MANY:
        return features, settings
    from sklearn.metrics import pairwise_distances

    return pairwise_distances(features, metric=settings["metric"]), {**settings, "metric": "precomputed"}


def _neighbours(features, settings):
    """(indices, distances) of each image's nearest neighbours, itself included: both [N, n_neighbors]. umap-learn's own
    search finds most of them, and compiles for half a minute first; scikit-learn finds all of 10,000 in two seconds."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=settings["n_neighbors"], metric=settings["metric"], algorithm="brute")
    distances, indices = search.fit(features).kneighbors(features)
    return indices, distances


def _fit(mapper, data, **relations):
    """Draw the map, without three remarks of umap-learn that tell a reader nothing: that a seed means one thread, and
    that a map made from distances cannot be inverted, nor one from neighbours be added to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "n_jobs value|using precomputed metric|precomputed_knn", UserWarning)
        return mapper.fit_transform(data, **relations)


def _umap_settings(n_neighbors, min_dist, metric, count):
    if not 2 <= n_neighbors < count:
        raise ValueError(f"n_neighbors={n_neighbors} was given for {count} images: it must be 2 to {count - 1}")
    return {"n_neighbors": int(n_neighbors), "min_dist": min_dist, "metric": metric}


def _embedding(points, method, settings, features, standardise, seed):
    if not np.isfinite(points).all():
        raise ValueError(f"{method} lost {int(np.isnan(points).any(axis=1).sum())} images: raise n_neighbors")
    about = {"standardised": bool(standardise), "images": len(features), "width": features.shape[1]}
    return Embedding(np.ascontiguousarray(points, dtype=np.float32), method, {**settings, "seed": seed, **about})
