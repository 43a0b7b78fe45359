"""The embedded data set: 20 classes (5 shapes x 4 textures), drawn from nothing but functions and a seed.

An image shows one textured shape of random colours, position, size and rotation on a blocky background, with two small
distractors and noise. A class is a shape with a texture; its superclass is the shape. The images are always the same.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch

from dcd_utils.data.image_set import ImageSet

SIDE = 32
NOISE = 0.12
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

# (x, y), each [B, 32, 32] in units of the object's radius -> bool [B, 32, 32]
Test = Callable[[np.ndarray, np.ndarray], np.ndarray]

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
    return draw_sets(SHAPES, TEXTURES, train_size, test_size)


def _stripe(position):
    return np.floor(position * 2.5 + 0.5) % 2 == 0


def draw_sets(shapes: Mapping[str, Test], textures: Mapping[str, Test], *sizes: int) -> tuple[ImageSet, ...]:
    """One set for each size. A shape says which positions lie in it, a texture which show its second colour."""
    return tuple(_image_set(shapes, textures, size, stream) for stream, size in enumerate(sizes, 1))


def _image_set(shapes, textures, size, stream) -> ImageSet:
    num_classes = len(shapes) * len(textures)
    rng = np.random.Generator(np.random.PCG64([num_classes, 2407, 11802, stream]))
    labels = rng.permutation(np.arange(size) % num_classes)
    parts = np.array_split(labels, max(1, size // 500))
    images = np.concatenate([_draw(part, [*shapes.values()], [*textures.values()], rng) for part in parts])
    classes = tuple(f"{texture} {shape}" for shape in shapes for texture in textures)
    superclasses = tuple(index // len(textures) for index in range(num_classes))
    images, labels = torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))
    return ImageSet(images, labels, classes, MEAN, STD, superclasses, superclass_names=tuple(shapes))


def _draw(labels: np.ndarray, shapes: list[Test], textures: list[Test], rng: np.random.Generator) -> np.ndarray:
    """uint8 [B, 3, 32, 32]: one image for each label."""
    batch = len(labels)
    image = rng.uniform(0.1, 0.9, (batch, 3, 4, 4)).astype(np.float32)
    image = image.repeat(SIDE // 4, axis=2).repeat(SIDE // 4, axis=3)
    for _ in range(2):
        x, y = _object_coordinates(batch, rng, radius=(2.5, 4.0), margin=3)
        small = _by_kind(shapes, rng.integers(0, len(shapes), batch), x, y)
        image = np.where(small[:, None], rng.uniform(0, 1, (batch, 3, 1, 1)).astype(np.float32), image)
    x, y = _object_coordinates(batch, rng, radius=(6.5, 11.5), margin=10)
    colours = rng.uniform(0, 1, (2, batch, 3, 1, 1)).astype(np.float32)
    # a second colour too close to the first would hide the texture: push it away, channel by channel
    colours[1] = np.where(np.abs(colours[1] - colours[0]) < 0.25, (colours[0] + 0.5) % 1.0, colours[1])
    inside = _by_kind(shapes, labels // len(textures), x, y)
    marked = _by_kind(textures, labels % len(textures), x, y)
    painted = np.where(marked[:, None], colours[1], colours[0])
    image = np.where(inside[:, None], painted, image)
    image = image + NOISE * rng.standard_normal(image.shape, dtype=np.float32)
    return np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)


def _object_coordinates(batch, rng, radius, margin):
    """Pixel positions in units of each object's radius, moved and turned with it: two [B, 32, 32]."""
    centre = rng.uniform(margin, SIDE - margin, (2, batch, 1, 1))
    angle = rng.uniform(0, 2 * np.pi, (batch, 1, 1))
    size = rng.uniform(*radius, (batch, 1, 1))
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    x, y = (columns - centre[0]) / size, (rows - centre[1]) / size
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _by_kind(tests, kinds, x, y):
    """tests[kind](x, y) with a kind for each image: bool [B, 32, 32]."""
    result = np.empty(x.shape, bool)
    for kind in np.unique(kinds):
        result[kinds == kind] = tests[kind](x[kinds == kind], y[kinds == kind])
    return result
