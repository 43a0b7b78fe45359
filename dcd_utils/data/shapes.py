"""The embedded data set: 20 classes of procedural images (5 shapes x 4 textures), made in seconds, without a download.

`drawing` says what an image shows.
"""

import numpy as np

from dcd_utils.data import drawing
from dcd_utils.data.image_set import ImageSet

SHAPES = {
    "disc": lambda x, y: np.hypot(x, y) < 0.9,
    "square": lambda x, y: np.maximum(abs(x), abs(y)) < 0.8,
    "triangle": lambda x, y: np.maximum(-y, np.maximum(y + np.sqrt(3) * x, y - np.sqrt(3) * x) / 2) < 0.55,
    "cross": lambda x, y: (np.minimum(abs(x), abs(y)) < 0.33) & (np.maximum(abs(x), abs(y)) < 1),
    "ring": lambda x, y: (np.hypot(x, y) > 0.5) & (np.hypot(x, y) < 1),
}
TEXTURES = {
    "plain": lambda x, y: np.zeros(x.shape, bool),
    "striped": lambda x, y: _stripe(x),
    "checked": lambda x, y: _stripe(x) ^ _stripe(y),
    "dotted": lambda x, y: np.hypot(x * 2 % 1 - 0.5, y * 2 % 1 - 0.5) < 0.28,
}


def load(train_size: int = 4000, test_size: int = 2000) -> tuple[ImageSet, ImageSet]:
    """(train, test) on the CPU; classes are balanced to within one image."""
    return drawing.image_sets(SHAPES, TEXTURES, train_size, test_size)


def _stripe(position):
    return np.floor(position * 2.5 + 0.5) % 2 == 0
