"""The embedded data set: 20 classes (5 shapes x 4 textures), drawn from nothing but functions and a seed.

An image shows one textured shape in the light of a lamp, with its shadow, on a cloudy ground, and one small distractor.
A class is a shape with a texture; its superclass is the shape. As in photographs, colours are a hint and no more: each
shape lies on grounds around a hue of its own, each texture has a first colour around one. The lamp makes a
shape mostly brighter than its ground (where either may be, a small network learns nothing for a while, and for how long
is a matter of luck); its marks are darker. The images are the same on every processor: NumPy's generator counts in
integers, and what follows is arithmetic that the IEEE standard fixes to the last bit (the few functions that it does
not fix only say on which side of an edge a point lies).
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch

from dcd_utils.data.image_set import ImageSet

SIDE = 32
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

# (x, y), each [B, 64, 64] in units of the object's radius -> bool [B, 64, 64]
SHAPES = {
    "disc": lambda x, y: np.hypot(x, y) < 0.9,
    "square": lambda x, y: (np.maximum(abs(x), abs(y)) < 0.8) & (abs(x) + abs(y) < 1.35),  # its corners are cut
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


def load(train_size: int = 3000, test_size: int = 2000) -> tuple[ImageSet, ImageSet]:
    """(train, test) on the CPU; classes are balanced to within one image."""
    return draw_sets(SHAPES, TEXTURES, train_size, test_size)


def _stripe(position):
    return np.floor(position * 2.5 + 0.5) % 2 == 0


def draw_sets(shapes: Mapping[str, Callable], textures: Mapping[str, Callable], *sizes: int) -> tuple[ImageSet, ...]:
    """One set for each size. A shape says which positions lie in it, a texture which show its second colour."""
    classes = tuple(f"{texture} {shape}" for shape in shapes for texture in textures)
    superclasses, sets = tuple(index // len(textures) for index in range(len(classes))), []
    for stream, size in enumerate(sizes, 1):
        rng = np.random.Generator(np.random.PCG64([len(classes), 2407, 11802, stream]))
        labels = rng.permutation(np.arange(size) % len(classes))
        parts = np.array_split(labels, max(1, size // 250))
        images = np.concatenate([_draw(part, [*shapes.values()], [*textures.values()], rng) for part in parts])
        tensors = torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))
        sets.append(ImageSet(*tensors, classes, MEAN, STD, superclasses, superclass_names=tuple(shapes)))
    return tuple(sets)


def _draw(labels: np.ndarray, shapes: list[Callable], textures: list[Callable], rng: np.random.Generator) -> np.ndarray:
    """uint8 [B, 3, 32, 32]: one image for each label."""

    def random(low: float, high: float, *shape: int) -> np.ndarray:
        return rng.uniform(low, high, (len(labels), *(shape or (1, 1, 1))))

    kinds, patterns = np.divmod(labels, len(textures))
    hue = (kinds / len(shapes)).reshape(-1, 1, 1, 1) + random(-0.3, 0.3)
    image = _colour(hue, random(0.2, 0.6), random(0.15, 0.55))
    for side, height in ((2, 0.2), (4, 0.12), (9, 0.1)):
        image = image + height * _enlarge(random(-0.5, 0.5, 3, side, side) + random(-0.5, 0.5, 1, side, side))

    x, y = _object_coordinates(random, radius=(2.5, 4.0), margin=3)
    cover = _cover(_by_kind(shapes, rng.integers(0, len(shapes), len(labels)), x, y))
    image = image + cover * (random(0, 1, 3, 1, 1) - image)

    x, y = _object_coordinates(random, radius=(8.9, 12.6), margin=10.75)
    inside = _by_kind(shapes, kinds, x, y)
    shadow = np.pad(_cover(inside), ((0, 0), (0, 0), (1, 0), (1, 0)))[:, :, :-1, :-1]  # down to the right by a pixel
    image = image * (1 - 0.4 * shadow)
    marked = _by_kind(textures, patterns, x, y)
    brightness = random(0.5, 1)
    first = _colour((patterns / len(textures)).reshape(-1, 1, 1, 1) + random(-0.3, 0.3), random(0.5, 1), brightness)
    second = _colour(random(0, 1), random(0.1, 0.9), brightness - random(0.3, 0.5))
    across = (np.arange(SIDE) + 0.5) / SIDE - 0.5
    light = 1 + random(-0.5, 0.5) * across + random(-0.5, 0.5) * across[:, None]
    for cover, colour in ((_cover(inside & ~marked), first), (_cover(inside & marked), second)):
        image = image + cover * (light * colour - image)
    image = image + random(-0.05, 0.05, 3, SIDE, SIDE)  # noise
    return np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)


def _colour(hue: np.ndarray, saturation: np.ndarray, brightness: np.ndarray) -> np.ndarray:
    """Red, green and blue [B, 3, 1, 1] of a hue (a turn of the colour wheel is 1; 0 is red), each [B, 1, 1, 1]."""
    distance = abs((hue - np.array([0, 1 / 3, 2 / 3]).reshape(3, 1, 1) + 0.5) % 1 - 0.5)  # from each pure colour
    return brightness * (1 - saturation * (1 - np.clip(2 - 6 * distance, 0, 1)))


def _enlarge(grid: np.ndarray) -> np.ndarray:
    """[B, C, k, k] -> [B, C, 32, 32], with straight lines between the values."""
    place = (np.arange(SIDE) + 0.5) / SIDE * (grid.shape[-1] - 1)
    start, part = place.astype(int), place % 1
    for _ in range(2):  # along the last axis, then along the other
        grid = (grid[..., start] * (1 - part) + grid[..., start + 1] * part).swapaxes(-1, -2)
    return grid


def _object_coordinates(random: Callable, radius: tuple[float, float], margin: float):
    """Positions of a grid twice as fine as the pixels in units of each object's radius, moved and turned with it by up
    to 40 degrees: two [B, 64, 64]."""
    left, top, size = random(margin, SIDE - margin, 1, 1), random(margin, SIDE - margin, 1, 1), random(*radius, 1, 1)
    tangent = random(-0.36, 0.36, 1, 1)  # of half the angle: gives its cosine and sine exactly
    length = 1 + tangent * tangent
    cosine, sine = (1 - tangent * tangent) / length / size, 2 * tangent / length / size
    places = (np.arange(2 * SIDE) + 0.5) / 2
    across, down = places - left, places[:, None] - top  # [B, 1, 64] and [B, 64, 1]
    x, y = across * cosine + down * sine, down * cosine - across * sine
    return x.astype(np.float32), y.astype(np.float32)


def _by_kind(tests, kinds, x, y):
    """tests[kind](x, y) with a kind for each image: bool [B, 64, 64]."""
    result = np.empty(x.shape, bool)
    for kind in np.unique(kinds):
        result[kinds == kind] = tests[kind](x[kinds == kind], y[kinds == kind])
    return result


def _cover(inside: np.ndarray) -> np.ndarray:
    """The share of each pixel that is inside: bool [B, 64, 64] -> [B, 1, 32, 32]."""
    points = inside[:, None].astype(np.uint8)
    rows = points[:, :, ::2] + points[:, :, 1::2]
    return (rows[..., ::2] + rows[..., 1::2]) / np.float32(4)
