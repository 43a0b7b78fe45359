"""Image files to pixels: decoded once, brought to one size, kept under `data/cache/`."""

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from tqdm.auto import tqdm

from dcd_utils import files, runtime

# part of every key: raise it when files are decoded otherwise than before
_FORMAT = 2


def check_side(side: int) -> None:
    """Raise ValueError for a side (height and width in pixels) that the networks cannot take."""
    if side < 16:
        raise ValueError(f"side={side} was given: the networks take images of 16 pixels or more")


def pixels(image: Image.Image, side: int) -> np.ndarray:
    """uint8 [3, side, side]: RGB, scaled (bilinear) and cropped at the centre where the size differs.

    A photograph is turned upright as its camera noted, 16 bits become 8, and what is transparent shows white. Raises
    ValueError for pixels that are no integers, of which nobody knows what is black and what white.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers: save it with 8 or 16 bits per channel")
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("RGB")
    if image.size != (side, side):
        image = ImageOps.fit(image, (side, side), Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)


def decode(paths: Sequence, side: int, title: str, open_file: Callable = lambda file: file) -> np.ndarray:
    """uint8 [N, 3, side, side] of N files, in their order. Raises ValueError that names an unreadable image.

    Args:
        paths: of files, or names that `open_file` turns into what Pillow opens; it is called from several threads.
        title: of the progress bar, which appears from 5,000 images on.
    """
    images = np.empty((len(paths), 3, side, side), np.uint8)

    def decode_from(start):
        for index, file in enumerate(paths[start : start + 256], start):
            try:
                with Image.open(open_file(file)) as image:
                    images[index] = pixels(image, side)
            except Exception as error:  # Pillow raises many kinds for damaged files
                raise ValueError(f'"{file}" cannot be read as an image ({error}): replace it or remove it') from error

    starts = range(0, len(paths), 256)
    with ThreadPoolExecutor() as pool:
        # batches of many keep the queue short; the first unreadable image ends the loop with its path
        steps = pool.map(decode_from, starts)
        for _ in tqdm(steps, total=len(starts), desc=title, leave=False, disable=len(paths) < 5000):
            pass
    return images


def cached(name: str, key, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What `make()` returns, read back from `data/cache/` if it was made before under the same name and key.

    The arrays lie beside their checksum: a file that is not what was written is made again.

    Args:
        name: begins the file's name.
        key: whatever decides the result, in types that JSON knows.
    """
    from safetensors.numpy import save

    key_digest = hashlib.sha256(json.dumps([_FORMAT, key], sort_keys=True).encode()).hexdigest()[:16]
    path = files.data_dir() / "cache" / f"{name}-{key_digest}.safetensors"
    arrays = _read_cache(path)
    if arrays is None:
        arrays = make()
        try:
            files.write_whole(path, save(arrays, {"sha256": _checksum(arrays)}))
        except OSError as error:
            print(f'the decoded images could not be kept at "{path}" ({error}); they will be decoded again next time')
    return arrays


def _read_cache(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a file that is there and undamaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dictionary
            stored = file.metadata() or {}
    except (OSError, SafetensorError):
        return None
    return arrays if stored.get("sha256") == _checksum(arrays) else None


def _checksum(arrays: dict[str, np.ndarray]) -> str:
    return runtime.digest({name: torch.from_numpy(arrays[name]) for name in sorted(arrays)})
