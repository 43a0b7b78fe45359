"""A second embedded domain, to transfer to: 16 classes (4 shapes x 4 textures) that `shapes` lacks, drawn alike, with
fewer training images, so that it matters what a network already knows."""

import numpy as np

from dcd_utils.data.image_set import ImageSet
from dcd_utils.data.shapes import draw_sets


def load(train_size: int = 2000, test_size: int = 2000) -> tuple[ImageSet, ImageSet]:
    """See `shapes.load`."""
    return draw_sets(SHAPES, TEXTURES, train_size, test_size)


def _star(x, y):
    """Five lines bound a regular pentagon; its star are the points that at most one of them shuts out."""
    turns = 2 * np.pi * np.arange(5) / 5
    return sum((x * np.cos(turn) + y * np.sin(turn) < 0.4).astype(int) for turn in turns) >= 4


def _heart(x, y):
    """A disc whose columns are pushed up, the more the farther they lie from the middle."""
    x, up = 1.1 * x, 0.2 - 1.1 * y
    return np.hypot(x, up - 0.85 * np.sqrt(abs(x))) < 1


SHAPES = {
    "star": _star,
    "crescent": lambda x, y: (np.hypot(x, y) < 1) & (np.hypot(x - 0.6, y) > 0.65),
    "heart": _heart,
    "bow tie": lambda x, y: (abs(x) < 0.95) & (abs(y) < 0.18 + 0.72 * abs(x)),
}
TEXTURES = {
    "halved": lambda x, y: y > 0,
    "ringed": lambda x, y: np.floor(np.hypot(x, y) * 3) % 2 == 0,
    "wavy": lambda x, y: np.floor(y * 2 + 0.6 * np.sin(4 * x)) % 2 == 0,
    "gridded": lambda x, y: np.minimum((x * 1.8 + 0.5) % 1, (y * 1.8 + 0.5) % 1) < 0.3,
}
