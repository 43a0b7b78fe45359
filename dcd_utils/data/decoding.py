"""Image files to pixels: decoded once, brought to one size, kept under `data/cache/`."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm.auto import tqdm

from dcd_utils import runtime

# part of every key: raise it when files are decoded otherwise than before
_FORMAT = 2


def check_side(side: int) -> None:
    """Raises ValueError for a side (height and width in pixels) that the networks cannot take."""
    if side < 16:
        raise ValueError(f"side={side} was given: the networks take images of 16 pixels or more")


def pixels(image: Image.Image, side: int) -> np.ndarray:
    """uint8 [3, side, side]: RGB, scaled (bilinear) and cropped at the centre where the size differs.

    A photograph is turned upright as its camera noted, 16 bits become 8, and what is transparent shows white.

    Raises:
        ValueError: pixels that are no integers, of which nobody knows what is black and what white.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers: save it with 8 or 16 bits a channel")
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("RGB")
    if image.size != (side, side):
        image = ImageOps.fit(image, (side, side), Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)


def decode(files: Sequence, side: int, title: str, open_file: Callable = lambda file: file) -> np.ndarray:
    """uint8 [N, 3, side, side] of N files, in their order.

    Args:
        files: paths, or names that `open_file` turns into what Pillow opens; it is called from several threads.
        title: of the progress bar, which appears from 5,000 images on.

    Raises:
        ValueError: an unreadable image (named).
    """
    images = np.empty((len(files), 3, side, side), np.uint8)

    def decode_from(start):
        for index in range(start, min(start + 256, len(files))):
            images[index] = _read(files[index], side, open_file)

    starts = range(0, len(files), 256)
    with ThreadPoolExecutor() as pool:
        # batches of many keep the queue short; the first unreadable image ends the loop with its path
        steps = pool.map(decode_from, starts)
        for _ in tqdm(steps, total=len(starts), desc=title, leave=False, disable=len(files) < 5000):
            pass
    return images


def _read(file, side, open_file):
    try:
        with Image.open(open_file(file)) as image:
            return pixels(image, side)
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise ValueError(f'"{file}" cannot be read as an image ({error}): replace it or remove it') from error


def cached(name: str, key, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What `make()` returns, read back from `data/cache/` if it was made before under the same name and key.

    Args:
        name: begins the file's name.
        key: whatever decides the result, in types that JSON knows.
    """
    digest = hashlib.sha256(json.dumps([_FORMAT, key], sort_keys=True).encode()).hexdigest()[:16]
    name = f"{name}-{digest}.safetensors"
    path = runtime.data_dir() / "cache" / name
    arrays = _read_cache(path)
    if arrays is None:
        arrays = make()
        _write_cache(path, arrays)
    return arrays


def _read_cache(path: Path) -> dict[str, np.ndarray] | None:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path) if path.exists() else None
    except SafetensorError:
        return None  # a damaged cache costs a new decode, nothing more


def _write_cache(path: Path, arrays: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save_file

    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(arrays, partial)
        os.replace(partial, path)
    except OSError as error:
        print(f'the decoded images could not be kept at "{path}" ({error}); they will be decoded again next time')
    finally:
        partial.unlink(missing_ok=True)
