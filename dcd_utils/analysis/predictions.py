"""What class probabilities are worth beyond their largest: likelihood, calibration, agreement with a teacher."""

from typing import NamedTuple

import numpy as np

from dcd_utils.analysis import checks


class Calibration(NamedTuple):
    """Expected calibration error (0 to 1), and of each bin [bins]: the mean confidence and the accuracy of its images
    (0 to 1, NaN where it is empty) and the share of all images that fall into it."""

    error: float
    confidence: np.ndarray
    accuracy: np.ndarray
    share: np.ndarray


class Agreement(NamedTuple):
    """Share of images (0 to 1) that get the same answer, and the mean divergence of the probabilities in nats."""

    same: float
    divergence: float


def negative_log_likelihood(logits, labels) -> float:
    """Mean of -log(probability of the true class), in nats: logits [N, C], labels [N]. Guessing has log C. One image
    that is wrong with certainty can cost more than many right ones earn."""
    logits = checks.matrix(logits, "logits")
    labels = checks.labels(labels, *logits.shape)
    return float(-_log_softmax(logits)[np.arange(len(labels)), labels].mean())


def calibration(logits, labels, bins: int = 15) -> Calibration:
    """How far the probability of a network's answer, its confidence, is from its accuracy: logits [N, C], labels [N].
    Images are sorted by confidence into bins of equal width, each with its upper end; the error is the mean distance of
    accuracy and confidence over the bins, weighted by their shares (Guo and others, 2017, arXiv:1706.04599, eq. 3)."""
    if bins < 1:
        raise ValueError(f"bins={bins} was given: pass at least 1")
    logits = checks.matrix(logits, "logits")
    labels = checks.labels(labels, *logits.shape)
    confidences = np.exp(_log_softmax(logits).max(axis=1))
    places = np.clip(np.ceil(confidences * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    right = logits.argmax(axis=1) == labels
    with np.errstate(invalid="ignore"):  # an empty bin
        confidence, accuracy = (np.bincount(places, values, bins) / counts for values in (confidences, right))
    share = counts / len(labels)
    return Calibration(float(np.nansum(share * abs(accuracy - confidence))), confidence, accuracy, share)


def agreement(logits, teacher_logits) -> Agreement:
    """How much a student says what its teacher says, whether right or wrong: two [N, C], of the same images in order.
    The divergence is KL(teacher || student) of the probabilities at temperature 1."""
    student, teacher = checks.same_images({"student logits": logits, "teacher logits": teacher_logits}, True)
    same = (student.argmax(axis=1) == teacher.argmax(axis=1)).mean()
    student, teacher = _log_softmax(student), _log_softmax(teacher)
    return Agreement(float(same), float((np.exp(teacher) * (teacher - student)).sum(axis=1).mean()))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
