"""Your own images: ROOT/train/<class>/* and ROOT/test/<class>/*, of any size."""

import os
from pathlib import Path

import numpy as np
import torch

from dcd_utils.data import decoding
from dcd_utils.data.cifar100 import superclasses_of
from dcd_utils.data.image_set import ImageSet

ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"}


def load(root: str | os.PathLike, side: int = 32, cache: bool = True) -> tuple[ImageSet, ImageSet]:
    """See `data.load`. Classes are train's folder names, sorted; mean and std are those of the training images."""
    root = Path(root).expanduser()
    decoding.check_side(side)
    listing = {part: _list(root, part) for part in ("train", "test")}
    classes = tuple(sorted(listing["train"]))
    if unknown := sorted(set(listing["test"]) - set(classes)):
        names = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
        advice = "Give both parts the same class folders"
        raise ValueError(f'"{root / "test"}" has classes that train lacks: {names}. {advice}')
    if empty := [name for name in classes if not listing["train"][name]]:
        place = root / "train" / empty[0]
        raise FileNotFoundError(f'no images in "{place}": add some ({", ".join(sorted(ENDINGS))}) or remove the folder')
    paths = {
        part: [root / part / name / file for name in sorted(images) for file, _, _ in images[name]]
        for part, images in listing.items()
    }
    key = [str(root.resolve()), side, listing]
    arrays = decoding.decode_parts(root.resolve().name, key, paths, side, cache)
    details = classes, *_statistics(arrays["train"]), *superclasses_of(classes)
    counts = [[len(images.get(name, ())) for name in classes] for images in listing.values()]
    labels = [torch.arange(len(classes)).repeat_interleave(torch.tensor(count)) for count in counts]
    return tuple(ImageSet(torch.from_numpy(arrays[part]), labels.pop(0), *details) for part in listing)


def _list(root: Path, part: str) -> dict[str, list[tuple[str, int, int]]]:
    """Class -> sorted (file name, size, time) of its images."""
    folder = root / part
    if not folder.is_dir():
        expected = f"expected {root}/train/<class>/<image> and {root}/test/<class>/<image>"
        raise FileNotFoundError(f'no folder "{folder}": {expected}')
    images = {}
    for place in folder.iterdir():
        if place.is_dir() and not place.name.startswith("."):
            paths = [file for file in place.iterdir() if file.suffix.lower() in ENDINGS and file.name[0] != "."]
            details = [(file.name, file.stat()) for file in paths]
            images[place.name] = sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in details)
    if not any(images.values()):
        endings = ", ".join(sorted(ENDINGS))
        raise FileNotFoundError(f'no images below "{folder}": expected {folder}/<class>/<image> ({endings})')
    return images


def _statistics(images: np.ndarray):
    """Per channel mean and std of pixel / 255, from exact integer sums, rounded to four digits."""
    levels, mean, std = np.arange(256) / 255, [], []
    for channel in images.swapaxes(0, 1):
        share = np.bincount(channel.reshape(-1), minlength=256) / channel.size
        average = float(share @ levels)
        mean.append(round(average, 4))
        std.append(max(round(float(share @ (levels - average) ** 2) ** 0.5, 4), 1e-4))
    return tuple(mean), tuple(std)
