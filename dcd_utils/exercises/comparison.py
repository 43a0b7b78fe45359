"""Exercises of notebook 06, methods side by side."""

from __future__ import annotations

import torch

from dcd_utils.exercises.mechanism import Exercise, Mistake


def _draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# features behind a ReLU are not negative: their cosines would hide a kernel that was not moved to [0, 1]
_FEATURES = (_draw(1, 5, 3) + 0.5, _draw(2, 4, 6), _draw(3, 7, 2) - 1)


def _cosines(features):
    unit = features / features.norm(dim=1, keepdim=True)
    return unit @ unit.T


def _kernel(features):
    return (_cosines(features) + 1) / 2


def _rows(kernel, dim=1):
    return kernel / kernel.sum(dim=dim, keepdim=True)


_CHANCES = Exercise(
    number="06.1",
    asks="neighbour chances of PKT",
    cases=tuple(((features,), _rows(_kernel(features))) for features in _FEATURES),
    mistakes=(
        Mistake(
            lambda f: _rows(_kernel(f), dim=0),
            "Here every *column* adds up to one. Whose neighbours does a row speak of?",
        ),
        Mistake(_kernel, "The kernel is right. The chances of one image do not add up to one yet."),
        Mistake(
            lambda f: _rows(_cosines(f)),
            "These are cosines over their sum. A cosine may be negative, a chance may not: what comes in between?",
        ),
        Mistake(
            lambda f: _rows((f @ f.T + 1) / 2),
            "Long features count more than short ones here: what makes an inner product a cosine?",
        ),
        Mistake(
            lambda f: _kernel(f).softmax(dim=1),
            "This is a softmax. PKT divides by the sum, without an exponential.",
        ),
        Mistake(
            lambda f: _rows(_kernel(f) * (1 - torch.eye(len(f), dtype=f.dtype))),
            "The image itself was left out. In the loss as it is used, the diagonal takes part.",
        ),
    ),
)

_MAPS = tuple(
    (_draw(seed, 2, 3, 4, width), _draw(seed + 10, 2, channels, 4, width))
    for seed, channels, width in ((4, 5, 4), (5, 3, 4), (6, 2, 2))
)


def _flow(first, second, divide=True):
    found = torch.einsum("bchw,bdhw->bcd", first, second)
    return found / first[0, 0].numel() if divide else found


_FLOWS = Exercise(
    number="06.2",
    asks="flow between two maps",
    cases=tuple((pair, _flow(*pair)) for pair in _MAPS),
    mistakes=(
        Mistake(
            lambda a, b: _flow(a, b, divide=False),
            "This is the sum over positions: a map of twice the side would flow four times as much. Take the mean.",
        ),
        Mistake(
            lambda a, b: _flow(b, a),
            "Rows and columns have changed places: the first map's channels are the rows.",
        ),
        Mistake(
            lambda a, b: _flow(a, b).mean(dim=0),
            "The images were averaged. Each image has a flow of its own: [B, first channels, second channels].",
        ),
        Mistake(
            lambda a, b: _flow(a, b, divide=False) / len(a[0, 0]),
            "Divided by one side of the map. How many positions are there?",
        ),
    ),
)

_PAIRS = tuple((_draw(seed, 9, 4) + 1, _draw(seed + 20, 9, 6) + _draw(seed, 9, 4)[:, :1] - 2) for seed in (7, 8, 9))


def _centred(features, dim=0):
    return features - features.mean(dim=dim, keepdim=True)


def _cka(student, teacher):
    own, target = student @ student.T, teacher @ teacher.T
    return (own * target).sum() / (own.norm() * target.norm())


_ALIGNMENT = Exercise(
    number="06.3",
    asks="a loss from linear CKA",
    cases=tuple(((s, t), 1 - _cka(_centred(s), _centred(t))) for s, t in _PAIRS),
    mistakes=(
        Mistake(
            lambda s, t: _cka(_centred(s), _centred(t)),
            "This is 1 for equal networks. Training makes a loss small: what should equal networks give?",
        ),
        Mistake(lambda s, t: 1 - _cka(s, t), "Linear CKA compares *centred* features: what was to come off first?"),
        Mistake(
            lambda s, t: 1 - _cka(_centred(s, dim=1), _centred(t, dim=1)),
            "Each image was centred over its features. Centre each feature over the images.",
        ),
        Mistake(
            lambda s, t: -_cka(_centred(s), _centred(t)),
            "It has the right slope. Asked for is a loss that is 0 for equal networks.",
        ),
    ),
)

EXERCISES = [_CHANCES, _FLOWS, _ALIGNMENT]
