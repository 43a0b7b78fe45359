"""Exercises of notebook 06, what each method matches."""

import numpy as np
import torch
from scipy.special import softmax

from dcd_utils.exercises.embeddings import alignment, cosines
from dcd_utils.exercises.mechanism import Exercise


def _draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _kernel(features):
    return (cosines(features, features) + 1) / 2


def _rows(kernel):
    return kernel / kernel.sum(axis=1, keepdims=True)


# features behind a ReLU are not negative: their cosines would hide a kernel that was not moved to [0, 1]
PKT = Exercise("06.1 PKT's neighbours", [(_draw(1, 5, 3) + 0.5,), (_draw(2, 4, 6),), (_draw(3, 7, 2) - 1,)]).answers(
    lambda x: _rows(_kernel(x)),
    lambda x: _rows(_kernel(x)).T, "Here every *column* adds up to one. Whose neighbours does a row speak of?",
    _kernel, "The kernel is right. The chances of one image do not add up to one yet.",
    lambda x: _rows(cosines(x, x)), "These are cosines, which may be negative; chances may not. What comes in between?",
    lambda x: _rows((x @ x.T + 1) / 2), "Long features count for more: what makes an inner product a cosine?",
    lambda x: softmax(_kernel(x), axis=1), "This is a softmax. PKT divides by the sum, without an exponential.",
    lambda x: _rows(_kernel(x) * (1 - np.eye(len(x)))), "The image itself was left out. The loss keeps the diagonal.")


def _flow(first, second):
    return torch.einsum("bchw,bdhw->bcd", first, second) / first[0, 0].numel()


_MAPS = [(_draw(4, 2, 3, 4, width), _draw(5, 2, channels, 4, width)) for channels, width in ((5, 4), (3, 4), (2, 2))]
FSP = Exercise("06.2 FSP's flow", _MAPS).answers(
    _flow,
    lambda a, b: _flow(a, b) * a[0, 0].numel(),
    "This is the sum over positions: a map of twice the side would flow four times as much. Take the mean.",
    lambda a, b: _flow(b, a), "Rows and columns have changed places: the first map's channels are the rows.",
    lambda a, b: _flow(a, b).mean(dim=0),
    "The images were averaged. Each image has a flow of its own: [B, first channels, second channels].",
    lambda a, b: _flow(a, b) * a.shape[3], "Divided by one side of the map. How many positions are there?",
    lambda a, b: _flow(a, b) / len(a), "Divided by the number of images too. The mean is over an image's positions.")


def _cka(student, teacher, axis=0):
    """Linear CKA, the alignment of linear kernels; features are centred over the images (axis 0)."""
    centred = [features - features.mean(axis, keepdims=True) for features in (student, teacher)]
    return alignment(*(features @ features.T for features in centred))


_FEATURES = [(_draw(seed, 9, 4) + 1, _draw(seed + 20, 9, 6) + _draw(seed, 9, 4)[:, :1] - 2) for seed in (7, 8, 9)]
CKA = Exercise("06.3 A method of your own", _FEATURES).answers(
    lambda *both: 1 - _cka(*both),
    _cka, "This is 1 for equal networks. Training makes a loss small: what should equal networks give?",
    lambda student, teacher: 1 - alignment(student @ student.T, teacher @ teacher.T),
    "Linear CKA compares *centred* features: what was to come off first?",
    lambda *both: 1 - _cka(*both, 1), "Each image was centred over its features. Centre each feature over the images.",
    lambda *both: -_cka(*both), "It has the right slope. Asked for is a loss that is 0 for equal networks.")
