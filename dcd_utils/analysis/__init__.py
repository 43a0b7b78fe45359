"""What a network's representation looks like, in numbers. Arrays in, arrays out; nothing here draws.

Arguments may be NumPy arrays or tensors on any device. Every function raises ValueError, saying what is wrong, for
arrays of a wrong shape, NaN or infinity, arrays that are not of the same images, labels of no class, and, where images
are compared, features that are the same for all or too large to square. A class without an image has a row of NaN.
scikit-learn and umap-learn load when first needed.
"""

from dcd_utils.analysis.correlation import class_correlation, confusion, logit_difference
from dcd_utils.analysis.embeddings import Embedding, aligned_umap, tsne, umap
from dcd_utils.analysis.features import Extracted, class_means, extract
from dcd_utils.analysis.predictions import agreement, calibration, negative_log_likelihood
from dcd_utils.analysis.probe import LinearProbe, linear_probe
from dcd_utils.analysis.similarity import knn_accuracy, linear_cka, neighbour_overlap, silhouette, trustworthiness

__all__ = [
    "Embedding", "Extracted", "LinearProbe", "agreement", "aligned_umap", "calibration", "class_correlation",
    "class_means", "confusion", "extract", "knn_accuracy", "linear_cka", "linear_probe", "logit_difference",
    "negative_log_likelihood", "neighbour_overlap", "silhouette", "trustworthiness", "tsne", "umap",
]  # fmt: skip
