"""The numbers behind the pictures: how alike two representations are, and how well one separates the classes."""

import numpy as np

from dcd_utils.analysis import checks


def linear_cka(x, y, debiased: bool = True) -> float:
    """Linear centred kernel alignment of x [N, D1] and y [N, D2] (Kornblith et al. 2019, arXiv:1905.00414, eq. 3).

    1 for representations equal up to rotation, reflection, shift and one common factor. The plain form is biased
    upwards when features outnumber images: independent noise may score 0.9. The debiased form (every HSIC replaced by
    its unbiased estimate, Song et al. 2012) is near 0 there, and may fall below 0. Raises ValueError for fewer than 4
    images (2 if plain), or features that never change (or hardly more than rounding)."""
    x, y = checks.same_images({"x": x, "y": y})
    fewest = 4 if debiased else 2
    if len(x) < fewest:
        raise ValueError(f"{len(x)} images were given: this CKA needs at least {fewest}")
    for name, values in (("x", x), ("y", y)):
        checks.varying(checks.scaled(values, axis=0), name, 8 * np.finfo(values.dtype).eps)
    x, y = (checks.scaled(values.astype(np.float64)) for values in (x, y))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    hsic = _debiased_hsic if debiased else lambda a, b: np.square(a.T @ b).sum()
    norms = hsic(x, x) * hsic(y, y)
    if not norms > 0:
        raise ValueError("x or y is the same for every image (or nearly so): its similarity to anything is undefined")
    return float(hsic(x, y) / np.sqrt(norms))


def _debiased_hsic(x, y):
    """n (n - 3) times the unbiased HSIC of the kernels x x^T and y y^T, without ever forming these [N, N] matrices."""
    n = len(x)
    x_norms, y_norms = np.square(x).sum(axis=1), np.square(y).sum(axis=1)
    # row sums of the kernels with their diagonals removed
    x_rows, y_rows = x @ x.sum(axis=0) - x_norms, y @ y.sum(axis=0) - y_norms
    trace = np.square(x.T @ y).sum() - x_norms @ y_norms
    return trace + x_rows.sum() * y_rows.sum() / ((n - 1) * (n - 2)) - 2 * (x_rows @ y_rows) / (n - 2)


def knn_accuracy(train_features, train_labels, test_features, test_labels, k: int = 20) -> float:
    """Share (%) of test images whose class is the most frequent one among their k nearest training images (cosine).
    Features are [N, D] and [M, D], labels [N] and [M]. Raises ValueError for widths that differ, or k above N."""
    from sklearn.neighbors import KNeighborsClassifier

    train, test = checks.matrix(train_features, "train features"), checks.matrix(test_features, "test features")
    width, test_width = train.shape[1], test.shape[1]
    if width != test_width:
        raise ValueError(f"train features have {width} columns, test features {test_width}: use one network for both")
    train_labels = checks.labels(train_labels, len(train), name="train labels")
    test_labels = checks.labels(test_labels, len(test), name="test labels")
    classifier = KNeighborsClassifier(checks.neighbours(k, len(train)), algorithm="brute")
    classifier.fit(checks.varying(unit(train), "the direction of train features"), train_labels)
    return 100 * float(classifier.score(unit(test), test_labels))


def silhouette(features, labels) -> float:
    """How much closer images lie to their own class than to the nearest other, mean over images, in [-1, 1].
    Features are [N, D], labels [N], the distance Euclidean (Rousseeuw 1987). 0: the classes overlap. Raises ValueError
    for fewer than two classes, or as many classes as images."""
    from sklearn.metrics import silhouette_score

    features = checks.varying(checks.matrix(features, "features"), "features")
    labels = checks.labels(labels, len(features))
    present, images = len(np.unique(labels)), len(features)
    if not 2 <= present < images:
        raise ValueError(f"{present} classes among {images} images: expected at least 2, and fewer than the images")
    return float(silhouette_score(features, labels))


def trustworthiness(features, points, k: int = 15) -> float:
    """How far one may trust the neighbours seen in a map, in [0, 1]: 1 if they are all neighbours in the features too.
    Features [N, D] as they were given to the map, points [N, 2], k nearest neighbours (Venna and Kaski 2001).
    Holds [N, N] distances: about 3 GB at 10,000 images. Raises ValueError for k not below N / 2."""
    from sklearn.manifold import trustworthiness as sklearn_trustworthiness

    features, points = checks.same_images({"features": features, "points": points})
    checks.neighbours(k, (len(features) - 1) // 2)  # beyond, the measure is no longer normalised to [0, 1]
    checks.varying(features, "features"), checks.varying(points, "points")
    return float(sklearn_trustworthiness(features, points, n_neighbors=k))


def neighbour_overlap(x, y, k: int = 10) -> float:
    """Share of an image's k nearest other images (cosine) that x and y agree on, mean over images, in [0, 1].
    x is [N, D1] and y [N, D2], of the same images in the same order; unrelated representations reach k / (N - 1) by
    chance. Raises ValueError for k not below N."""
    from sklearn.neighbors import NearestNeighbors

    x, y = checks.same_images({"x": x, "y": y})
    k = checks.neighbours(k, len(x) - 1)
    units = (checks.varying(unit(values), f"the direction of {name}") for name, values in (("x", x), ("y", y)))
    search = NearestNeighbors(n_neighbors=k, algorithm="brute")
    in_x, in_y = (search.fit(values).kneighbors(return_distance=False) for values in units)
    return float((in_x[:, :, None] == in_y[:, None, :]).any(axis=2).mean())


def unit(features):
    """Rows of unit length: among them Euclidean and cosine neighbours are the same, and the former are found faster."""
    from sklearn.preprocessing import normalize

    return normalize(checks.scaled(features, axis=1))
