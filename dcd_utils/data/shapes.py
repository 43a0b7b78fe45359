"""The embedded data set: 20 classes of procedural images (5 shapes x 4 textures), made in seconds, without a download.

An image shows one textured shape of random colours, position, size and rotation on a blocky background, with two small
distractors and noise. A class is a shape with a texture; its superclass is the shape. The images are always the same.
"""

from __future__ import annotations

import numpy as np
import torch

from dcd_utils.data.image_set import ImageSet

SHAPES = ("disc", "square", "triangle", "cross", "ring")
TEXTURES = ("plain", "striped", "checked", "dotted")
SIDE = 32
NOISE = 0.12
TRAIN_SIZE, TEST_SIZE = 4000, 2000
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def load(train_size: int = TRAIN_SIZE, test_size: int = TEST_SIZE) -> tuple[ImageSet, ImageSet]:
    """(train, test) on the CPU; classes are balanced to within one image."""
    return _image_set(train_size, stream=1), _image_set(test_size, stream=2)


def _image_set(size: int, stream: int) -> ImageSet:
    rng = np.random.Generator(np.random.PCG64([20, 2407, 11802, stream]))
    labels = rng.permutation(np.arange(size) % (len(SHAPES) * len(TEXTURES)))
    images = np.concatenate([_draw(part, rng) for part in np.array_split(labels, max(1, size // 500))])
    return ImageSet(
        images=torch.from_numpy(images),
        labels=torch.from_numpy(labels.astype(np.int64)),
        classes=tuple(f"{texture} {shape}" for shape in SHAPES for texture in TEXTURES),
        mean=MEAN,
        std=STD,
        superclasses=tuple(index // len(TEXTURES) for index in range(len(SHAPES) * len(TEXTURES))),
        superclass_names=SHAPES,
    )


def _draw(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 [B, 3, 32, 32]: one image for each label."""
    batch = len(labels)
    image = np.repeat(
        np.repeat(rng.uniform(0.1, 0.9, (batch, 3, 4, 4)).astype(np.float32), SIDE // 4, axis=2), SIDE // 4, axis=3
    )
    for _ in range(2):
        x, y = _object_coordinates(batch, rng, radius=(2.5, 4.0), margin=3)
        small = _by_kind(_inside, rng.integers(0, len(SHAPES), batch), x, y)
        image = np.where(small[:, None], rng.uniform(0, 1, (batch, 3, 1, 1)).astype(np.float32), image)
    x, y = _object_coordinates(batch, rng, radius=(6.5, 11.5), margin=10)
    colours = rng.uniform(0, 1, (2, batch, 3, 1, 1)).astype(np.float32)
    # a second colour too close to the first would hide the texture: push it away, channel by channel
    colours[1] = np.where(np.abs(colours[1] - colours[0]) < 0.25, (colours[0] + 0.5) % 1.0, colours[1])
    shape, texture = labels // len(TEXTURES), labels % len(TEXTURES)
    inside, marked = _by_kind(_inside, shape, x, y), _by_kind(_marked, texture, x, y)
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


def _by_kind(test, kinds, x, y):
    """test(x, y, kind) with a kind for each image: bool [B, 32, 32]."""
    result = np.empty(x.shape, bool)
    for kind in np.unique(kinds):
        result[kinds == kind] = test(x[kinds == kind], y[kinds == kind], kind)
    return result


def _inside(x, y, kind):
    """Whether a position lies in the shape of this kind."""
    distance = np.hypot(x, y)
    if kind == 0:
        return distance < 0.9
    if kind == 1:
        return np.maximum(abs(x), abs(y)) < 0.8
    if kind == 2:
        return np.maximum(-y, np.maximum(y + np.sqrt(3) * x, y - np.sqrt(3) * x) / 2) < 0.55
    if kind == 3:
        return (np.minimum(abs(x), abs(y)) < 0.33) & (np.maximum(abs(x), abs(y)) < 1)
    return (distance > 0.5) & (distance < 1)


def _marked(x, y, kind):
    """Whether the texture of this kind shows its second colour at a position."""
    stripe_x, stripe_y = np.floor(x * 2.5 + 0.5) % 2 == 0, np.floor(y * 2.5 + 0.5) % 2 == 0
    if kind == 0:
        return np.zeros(x.shape, bool)
    if kind == 1:
        return stripe_x
    if kind == 2:
        return stripe_x ^ stripe_y
    return np.hypot(x * 2 % 1 - 0.5, y * 2 % 1 - 0.5) < 0.28
