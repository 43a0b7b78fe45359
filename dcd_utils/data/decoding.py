"""Image files to pixels: decoded once, brought to one size, kept under `data/cache/`."""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from tqdm.contrib.concurrent import thread_map

from dcd_utils import files, runtime

_FORMAT = 3  # part of every key: raise it when files are decoded otherwise than before
# what Pillow can read that is made of pixels: no documents (PDF, EPS), no films; TGA is last, as it has no signature
Image.init()
_FORMATS = [*filter(Image.OPEN.get, "AVIF BMP GIF ICO JPEG JPEG2000 PCX PNG PPM PSD QOI SGI TIFF WEBP TGA".split())]  # noqa: SIM905
ENDINGS = {ending for ending, name in Image.EXTENSION.items() if name in (*_FORMATS, "MPO")}


def is_image(path: Path) -> bool:
    """Whether a file's ending is that of an image, or, where it has none, its content."""
    if path.suffix or not path.is_file():
        return path.suffix.lower() in ENDINGS
    with contextlib.suppress(Exception), Image.open(path, formats=_FORMATS[:-1]):  # of what is none, many kinds
        return True
    return False


def pixels(image: Image.Image, side: int, peaks: list[int]) -> np.ndarray:
    """uint8 [3, side, side]: `to_rgb`, scaled (bilinear) and cropped at the centre where the size differs."""
    image = to_rgb(image, peaks)
    if image.size != (side, side):
        image = ImageOps.fit(image, (side, side), Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)


def to_rgb(image: Image.Image, peaks: list[int]) -> Image.Image:
    """The image upright, in 8 bits of red, green and blue, as docs/inputs.md lists it for each kind of file. The
    highest value of 16 bits goes to `peaks`. Raises ValueError for floating-point pixels, signed and wider ones, of
    which nobody knows what is black and what white."""
    stored, tags = str(getattr(image, "tile", "")), getattr(image, "tag_v2", {})  # what the file says of its pixels
    ImageOps.exif_transpose(image, in_place=True)
    values = np.asarray(image) if image.mode[0] == "I" else np.zeros(1, np.uint8)
    low, high = int(values.min()), int(values.max())
    if image.mode == "F" or low < 0 or high > 65535 or (image.mode == "L" and tags.get(339) == (2,)):
        raise ValueError("it holds signed, 32-bit or floating-point numbers: save it with 8 or 16 bits per channel")
    if image.mode[0] == "I":
        if "I;12" in stored:  # a TIFF file of 12 bits
            values, high = values * 16 + values // 256, high * 16 + high // 256
        values = np.where(values == image.info.get("transparency", -1), 65535, values)
        values = 65535 - values if tags.get(262) == 0 else values  # 0 is white
        image = Image.fromarray((values // 257).astype(np.uint8))
    elif image.mode == "RGB" and ";16" in stored:  # of which Pillow keeps the upper 8 bits
        high = 256 * int(np.max(image.getextrema()))
    peaks.append(high)
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


def read(file, peaks: list[int], side: int | None = None, open_file: Callable = lambda file: file):
    """`to_rgb` of a file that `open_file` turns into what Pillow opens, or with a side its `pixels`; ValueError, which
    names it, if it cannot be read."""
    try:
        with Image.open(open_file(file), formats=_FORMATS) as image:
            if image.width * image.height > 100_000_000:
                raise ValueError("it has more than 100 megapixels")
            return to_rgb(image, peaks) if side is None else pixels(image, side, peaks)
    except Exception as error:  # Pillow raises many kinds for damaged files
        problem = getattr(error, "strerror", None) or error
        raise ValueError(f'"{file}" cannot be read as an image ({problem}): replace it or remove it') from error


def decode(paths: Sequence, side: int, title: str, open_file: Callable, peaks: list[int]) -> np.ndarray:
    """uint8 [N, 3, side, side] of N files, in their order, each as `read` has it, in several threads. From 5,000 images
    on, a bar is shown."""
    images = np.empty((len(paths), 3, side, side), np.uint8)

    def decode_from(start):
        for index, file in enumerate(paths[start : start + 256], start):
            images[index] = read(file, peaks, side, open_file)

    # batches of many keep the queue short; the first unreadable image ends it with its path
    thread_map(decode_from, range(0, len(paths), 256), desc=title, leave=False, disable=len(paths) < 5000)
    return images


def decode_parts(
    name: str, key: list, paths: Mapping[str, Sequence], side: int, cache: bool, open_file: Callable = lambda file: file
) -> dict[str, np.ndarray]:
    """`decode` for the files of each part, read back from the cache if it may be used; name and key: see `cached`."""

    def make():
        peaks = []
        arrays = {part: decode(files, side, f"decoding {part}", open_file, peaks) for part, files in paths.items()}
        if 0 < (peak := max(peaks, default=0)) < 1 << 14:  # probably fewer bits, of which 8 keep 64 levels at most
            advice = f"multiply their values by {2 ** (16 - peak.bit_length())} and save them again"
            raise ValueError(f'no 16-bit image of "{name}" has a value above {peak:,}, and white is 65,535: {advice}')
        return arrays

    return cached(f"{name}-{side}px", key, make) if cache else make()


def cached(name: str, key, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What `make()` returns, read back from `data/cache/` if it was made before under the same name and key (whatever
    decides the result, as JSON). A file that is not what was written, by the checksum in it, is made again."""
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import save

    def checksum(arrays):
        return runtime.digest({part: torch.from_numpy(arrays[part]) for part in sorted(arrays)})

    key_digest = files.sha256(json.dumps([_FORMAT, key], sort_keys=True).encode())[:16]
    path = files.data_dir() / "cache" / f"{name}-{key_digest}.safetensors"
    with contextlib.suppress(OSError, SafetensorError), safe_open(path, "numpy") as file:  # absent, or damaged
        arrays = {part: file.get_tensor(part) for part in file.keys()}  # noqa: SIM118, it is no dictionary
        if (file.metadata() or {}).get("sha256") == checksum(arrays):
            return arrays
    arrays = make()
    try:
        files.write_whole(path, save(arrays, {"sha256": checksum(arrays)}))
    except OSError as error:
        print(f'the decoded images could not be kept at "{path}" ({error}); they will be decoded again next time')
    return arrays
