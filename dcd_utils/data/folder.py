"""Your own images: ROOT/train/<class>/* and ROOT/test/<class>/*, of any size, decoded once and kept."""

import os
from pathlib import Path

import numpy as np
import torch

from dcd_utils.data import decoding
from dcd_utils.data.cifar100 import superclasses_of
from dcd_utils.data.image_set import ImageSet

ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"}


def load(root: str | os.PathLike, side: int = 32, cache: bool = True) -> tuple[ImageSet, ImageSet]:
    """(train, test) on the CPU: RGB, scaled (bilinear) and cropped at the centre to side x side where the size differs.

    Classes are train's folder names, sorted. Mean and std are those of the training images. The decoded images are kept
    under `data/cache/` and read back until a file of the tree changes (name, size or time), or `side` does.
    """
    root = Path(root).expanduser()
    decoding.check_side(side)
    listing = {part: _list(root, part) for part in ("train", "test")}
    classes = tuple(sorted(listing["train"]))
    if unknown := sorted(set(listing["test"]) - set(classes)):
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise ValueError(
            f'"{root / "test"}" has classes that train lacks: {", ".join(unknown[:5])}{more}. '
            "Give both parts the same class folders"
        )
    if empty := [name for name in classes if not listing["train"][name]]:
        raise FileNotFoundError(
            f'no images in "{root / "train" / empty[0]}": add some ({", ".join(sorted(ENDINGS))}) or remove the folder'
        )

    def decode():
        paths = {
            part: [root / part / name / file for name in sorted(images) for file, _, _ in images[name]]
            for part, images in listing.items()
        }
        return {part: decoding.decode(paths[part], side, f"decoding {part}") for part in paths}

    key = [str(root.resolve()), side, listing]
    arrays = decoding.cached(f"{root.resolve().name}-{side}px", key, decode) if cache else decode()
    mean, std = _statistics(arrays["train"])

    def image_set(part):
        counts = [len(listing[part].get(name, ())) for name in classes]
        labels = torch.from_numpy(np.repeat(np.arange(len(classes)), counts))
        return ImageSet(torch.from_numpy(arrays[part]), labels, classes, mean, std, *superclasses_of(classes))

    return image_set("train"), image_set("test")


def _list(root: Path, part: str) -> dict[str, list[tuple[str, int, int]]]:
    """Class -> sorted (file name, size, time) of its images."""
    folder = root / part
    if not folder.is_dir():
        raise FileNotFoundError(
            f'no folder "{folder}": expected {root}/train/<class>/<image> and {root}/test/<class>/<image>'
        )
    images = {}
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.name.startswith("."):
            with os.scandir(entry) as files:
                images[entry.name] = sorted(
                    (file.name, file.stat().st_size, file.stat().st_mtime_ns)
                    for file in files
                    if Path(file.name).suffix.lower() in ENDINGS and not file.name.startswith(".")
                )
    if not any(images.values()):
        raise FileNotFoundError(
            f'no images below "{folder}": expected {folder}/<class>/<image> ({", ".join(sorted(ENDINGS))})'
        )
    return images


def _statistics(images: np.ndarray):
    """Per channel mean and std of pixel / 255, from exact integer sums, rounded to four digits."""
    levels = np.arange(256) / 255
    mean, std = [], []
    for channel in range(3):
        share = np.bincount(images[:, channel].reshape(-1), minlength=256) / images[:, channel].size
        average = float(share @ levels)
        mean.append(round(average, 4))
        std.append(max(round(float(share @ (levels - average) ** 2) ** 0.5, 4), 1e-4))
    return tuple(mean), tuple(std)
