"""Your own images: ROOT/train/<class>/* and ROOT/test/<class>/*, of any size."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from dcd_utils.data import decoding
from dcd_utils.data.cifar100 import superclasses_of
from dcd_utils.data.image_set import ImageSet
from dcd_utils.data.streaming import MEAN, STD, ImageFiles, StreamedSet, default_workers

STREAMED = 4e9  # bytes; training images that take more when decoded are streamed, unless one says otherwise


def load(
    root: Path, side: int = 32, cache: bool = True, stream: bool | None = None, workers: int | None = None,
    tested: tuple[str, ...] = ("test", "val", "valid", "validation"),
) -> tuple[ImageSet, ImageSet]:  # fmt: skip
    """See `data.load`; the first of the folders `tested` holds the test images. Classes are train's folders, sorted;
    mean and std are the training images', or, where these are streamed, those of torchvision's weights."""
    try:
        folders = {"train": _part(root, "train"), "test": _part(root, *tested)}
        found = {part: _list(folder) for part, folder in folders.items()}
    except PermissionError as error:
        raise ValueError(f'"{error.filename}" cannot be read ({error.strerror}): change its permissions') from error
    classes = tuple(sorted(found["train"]))
    if len(classes) < 2:
        advice = f'each class needs a folder of its own directly in "{folders["train"]}"'
        raise ValueError(f'only one class was found, "{classes[0]}", and two or more are expected: {advice}')
    if unknown := sorted(set(found["test"]) - set(classes)):
        names = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
        raise ValueError(f'"{folders["test"]}" has classes that train lacks: {names}. Give both the same class folders')
    if empty := [name for name in classes if not found["train"][name]]:
        raise FileNotFoundError(f'no images in "{folders["train"] / empty[0]}": add some or remove the folder')
    counts = [[len(images.get(name, ())) for name in classes] for images in found.values()]
    labels = [torch.arange(len(classes)).repeat_interleave(torch.tensor(count)) for count in counts]
    if stream or (stream is None and len(labels[0]) * 3 * side * side > STREAMED):
        details, sets = (classes, MEAN, STD, *superclasses_of(classes)), []
        for images, part in zip(found.values(), labels, strict=True):
            rows = [(os.fsencode(path.relative_to(root)), size) for name in images for path, _, size, _ in images[name]]
            names, sizes = (np.array(column) for column in zip(*rows, strict=True))
            ways = default_workers() if workers is None else workers
            sets.append(StreamedSet(ImageFiles(root.absolute(), names, sizes, side, ways), part, *details))
        return tuple(sets)
    paths = {part: [path for name in sorted(images) for path, *_ in images[name]] for part, images in found.items()}
    listing = {part: {name: [key for _, *key in images[name]] for name in images} for part, images in found.items()}
    arrays = decoding.decode_parts(root.resolve().name, [str(root.resolve()), side, listing], paths, side, cache)
    details = classes, *_statistics(arrays["train"]), *superclasses_of(classes)
    return tuple(ImageSet(torch.from_numpy(arrays[part]), labels.pop(0), *details) for part in found)


def _part(root: Path, *names: str) -> Path:
    """The folder of the first of these names that is there."""
    if folders := [root / name for name in names if (root / name).is_dir()]:
        if folders[0].name != names[0]:
            print(f'no folder "{root / names[0]}": "{folders[0]}" is read in its place')
        return folders[0]
    expected = f"expected {root}/train/<class>/<image> and {root}/test/<class>/<image>"
    if not root.is_dir():
        raise FileNotFoundError(f'no folder "{root.absolute()}": {expected}')
    holds = sorted(place.name for place in root.iterdir() if place.is_dir())
    found = "there are " + (", ".join(holds[:5]) or "no folders") + " and more" * (len(holds) > 5)
    raise FileNotFoundError(f'no folder "{root / names[0]}": {expected}, {found}. See docs/your_own.md')


def _list(folder: Path) -> dict[str, list[tuple[Path, str, int, int]]]:
    """Class (NFC) -> (path, name in the class's folder, size, time) of its images; the order is ImageFolder's."""
    places = sorted(place.name for place in folder.iterdir() if place.is_dir() and place.name[0] != ".")
    images, left_out = {unicodedata.normalize("NFC", name): [] for name in places}, Counter()
    if len(images) < len(places):
        raise ValueError(f'"{folder}" has folders whose names look the same (Unicode NFC and NFD): join them')
    for path in sorted(_files(folder), key=lambda path: (str(path.parent), path.name)):
        place, *inner = path.relative_to(folder).parts
        is_image = decoding.is_image(path)
        if (is_image or not inner) and not path.is_file():
            raise ValueError(f'"{path}" is a link to nothing, or no file: mend it or remove it')
        if is_image and inner:
            stat, name = path.stat(), unicodedata.normalize("NFC", place)
            images[name].append((path, "/".join(inner), stat.st_size, stat.st_mtime_ns))
        else:
            left_out[(path.suffix.lower() or "no ending") if inner else "beside the class folders"] += 1
    if left_out:
        kinds = ", ".join(f"{kind} {count}" for kind, count in left_out.most_common())
        print(f'{left_out.total()} file{"s" * (left_out.total() > 1)} left out of "{folder}" ({kinds})')
    if not any(images.values()):
        expected = f"expected {folder}/<class>/<image>. See docs/inputs.md"
        if left_out["beside the class folders"]:
            expected += ". ImageNet's test images are sorted so by torchvision.datasets.ImageNet(ROOT, \"val\")"
        raise FileNotFoundError(f'no images below "{folder}": {expected}')
    return images


def _files(folder: Path, *above: Path) -> Iterator[Path]:
    """Every file in any depth, through links too; what is hidden is left out."""
    if (real := folder.resolve()) in above:
        raise ValueError(f'"{folder}" leads back to a folder that it lies in: remove the link')
    for path in folder.iterdir():
        if path.name[0] != ".":
            yield from _files(path, real, *above) if path.is_dir() else (path,)


def _statistics(images: np.ndarray):
    """Per channel mean and std of pixel / 255, from exact integer sums, rounded to four digits."""
    levels = np.arange(256) / 255
    shares = [np.bincount(channel.reshape(-1), minlength=256) / channel.size for channel in images.swapaxes(0, 1)]
    mean = [float(share @ levels) for share in shares]
    std = [float(share @ (levels - average) ** 2) ** 0.5 for share, average in zip(shares, mean, strict=True)]
    return [round(value, 4) for value in mean], [max(round(value, 4), 1e-4) for value in std]
