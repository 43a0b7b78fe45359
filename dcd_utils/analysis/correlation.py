"""How a network relates classes to each other."""

import numpy as np

from dcd_utils.analysis import checks
from dcd_utils.analysis.features import class_means


def class_correlation(logits) -> np.ndarray:
    """Pearson correlation between the logits of every two classes over all images: logits [N, C] -> [C, C]. High where
    the network raises and lowers two classes together: what it holds to be alike. Raises ValueError for fewer than two
    images, or a class whose logit never changes (or hardly more than rounding)."""
    logits = checks.matrix(logits, "logits")
    if len(logits) < 2:
        raise ValueError("one image was given: a correlation needs at least two")
    logits = checks.scaled(logits, axis=0)  # no correlation changes, and nothing overflows
    if len(constant := np.flatnonzero(np.ptp(logits, axis=0) <= 8 * np.finfo(logits.dtype).eps)):
        found = f"the logit of class {constant[0]} is the same for every image ({len(constant)} such classes)"
        raise ValueError(f"{found}: its correlation is undefined; has the network been trained?")
    return np.corrcoef(logits, rowvar=False, dtype=np.float64).reshape(logits.shape[1], -1)


def logit_difference(student_logits, teacher_logits, labels, standardise: bool = False) -> np.ndarray:
    """Absolute difference of class-mean logits, diagonal set to zero: row = true class, column = logit, [C, C].

    With `standardise`, which first brings the logits of each image to mean 0 and standard deviation 1 over the classes,
    this is what the figures called "correlation matrix" in the released code of arXiv:2407.11802 show (its script
    switches the option on). It is no correlation: it compares levels, and nothing that happens within a class. Without
    the option, a student that only scales the teacher's logits differs from it. Logits are [N, C], of the same images
    in the same order, and labels [N] their true classes."""
    student, teacher = checks.same_images({"student logits": student_logits, "teacher logits": teacher_logits}, True)
    if standardise:
        student, teacher = _standardised(student, "student"), _standardised(teacher, "teacher")
    classes = student.shape[1]
    difference = np.abs(class_means(student, labels, classes) - class_means(teacher, labels, classes))
    np.fill_diagonal(difference, 0.0)
    return difference


def _standardised(logits, name):
    logits = checks.scaled(logits, axis=1)
    if (np.ptp(logits, axis=1) == 0).any():
        raise ValueError(f"the {name}'s logits of an image are all equal: they cannot be standardised")
    logits = logits.astype(np.float64) - logits.mean(axis=1, keepdims=True, dtype=np.float64)
    return logits / logits.std(axis=1, ddof=1, keepdims=True)


def confusion(logits, labels) -> np.ndarray:
    """Share of each true class (row) that is predicted as each class (column): logits [N, C], labels [N] -> [C, C].
    Rows sum to 1, or are NaN for a class without an image; the diagonal is the accuracy of each class."""
    logits = checks.matrix(logits, "logits")
    classes = logits.shape[1]
    return class_means(np.eye(classes, dtype=bool)[logits.argmax(axis=1)], labels, classes)
