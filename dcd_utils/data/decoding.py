"""Image files to pixels: decoded once, brought to one size, kept under `data/cache/`."""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from PIL import Image, ImageOps
from tqdm.contrib.concurrent import thread_map

from dcd_utils import files, runtime

# part of every key: raise it when files are decoded otherwise than before
_FORMAT = 2


def check_side(side: int) -> None:
    if side < 16:
        raise ValueError(f"side={side} was given: the networks take images of 16 pixels or more")


def pixels(image: Image.Image, side: int) -> np.ndarray:
    """uint8 [3, side, side]: RGB, scaled (bilinear) and cropped at the centre where the size differs.

    A photograph is turned upright as its camera noted, 16 bits become 8, and what is transparent shows white. Raises
    ValueError for floating-point pixels, of which nobody knows what is black and what white.
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


def decode(paths: Sequence, side: int, title: str, open_file: Callable) -> np.ndarray:
    """uint8 [N, 3, side, side] of N files, in their order. Raises ValueError that names an unreadable image.

    `open_file` turns a path or name into what Pillow opens, in several threads. From 5,000 images on, a bar is shown.
    """
    images = np.empty((len(paths), 3, side, side), np.uint8)

    def decode_from(start):
        for index, file in enumerate(paths[start : start + 256], start):
            try:
                with Image.open(open_file(file)) as image:
                    images[index] = pixels(image, side)
            except Exception as error:  # Pillow raises many kinds for damaged files
                raise ValueError(f'"{file}" cannot be read as an image ({error}): replace it or remove it') from error

    # batches of many keep the queue short; the first unreadable image ends it with its path
    thread_map(decode_from, range(0, len(paths), 256), desc=title, leave=False, disable=len(paths) < 5000)
    return images


def decode_parts(
    name: str, key: list, paths: Mapping[str, Sequence], side: int, cache: bool, open_file: Callable = lambda file: file
) -> dict[str, np.ndarray]:
    """`decode` for the files of each part, read back from the cache if it may be used; name and key: see `cached`."""

    def make():
        return {part: decode(files, side, f"decoding {part}", open_file) for part, files in paths.items()}

    return cached(f"{name}-{side}px", key, make) if cache else make()


def cached(name: str, key, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What `make()` returns, read back from `data/cache/` if it was made before under the same name and key.

    The arrays lie beside their checksum: a file that is not what was written is made again. The key is whatever decides
    the result, in types that JSON knows.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import save

    key_digest = files.sha256(json.dumps([_FORMAT, key], sort_keys=True).encode())[:16]
    path = files.data_dir() / "cache" / f"{name}-{key_digest}.safetensors"
    with contextlib.suppress(OSError, SafetensorError), safe_open(path, "numpy") as file:  # absent, or damaged
        arrays = {part: file.get_tensor(part) for part in file.keys()}  # noqa: SIM118, it is no dictionary
        if (file.metadata() or {}).get("sha256") == _checksum(arrays):
            return arrays
    arrays = make()
    try:
        files.write_whole(path, save(arrays, {"sha256": _checksum(arrays)}))
    except OSError as error:
        print(f'the decoded images could not be kept at "{path}" ({error}); they will be decoded again next time')
    return arrays


def _checksum(arrays: dict[str, np.ndarray]) -> str:
    return runtime.digest({name: torch.from_numpy(arrays[name]) for name in sorted(arrays)})
