"""Tiny ImageNet (Stanford CS231n, 2015): 100,000 training and 10,000 validation images of 64x64 in 200 classes.

The archive is never unpacked: images, labels and names are read out of it, so nothing of it can land in a wrong place.
"""

import io
import re
import threading
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch

from dcd_utils.data import decoding, downloads
from dcd_utils.data.image_set import ImageSet

URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
FILENAME, MD5 = "tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de"
MEAN, STD = (0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821)
_TOP = "tiny-imagenet-200/"


def load(
    root: Path, download: bool = True, side: int = 32, url: str | None = None, cache: bool = True
) -> tuple[ImageSet, ImageSet]:
    """See `data.load`; (train, validation), as the test images have no published labels. The archive has 250 MB.
    Classes are sorted by WordNet number and called by their first name; the number follows where two share it."""
    with downloads.advice("Tiny ImageNet", root, FILENAME, MD5):
        path = downloads.fetch(url or URL, root, FILENAME, MD5, download)
        with zipfile.ZipFile(path) as archive:
            wnids = {wnid: index for index, wnid in enumerate(sorted(_text(archive, "wnids.txt").split()))}
            classes = _class_names(wnids, _text(archive, "words.txt"))
            listing = {"train": _train(archive, wnids), "val": _validation(archive, wnids)}
            lock = threading.Lock()

            def open_file(name):
                with lock:
                    return io.BytesIO(archive.read(name))

            key, names = [MD5, side, listing], {part: [*labels] for part, labels in listing.items()}
            arrays = decoding.decode_parts("tiny-imagenet-200", key, names, side, cache, open_file)
    numbers = {part: torch.tensor([*labels.values()]) for part, labels in listing.items()}
    return tuple(ImageSet(torch.from_numpy(arrays[part]), numbers[part], classes, MEAN, STD) for part in listing)


def _text(archive: zipfile.ZipFile, name: str) -> str:
    try:
        return archive.read(_TOP + name).decode()
    except KeyError:
        raise ValueError(f"{FILENAME} has no {_TOP}{name}: it is not Tiny ImageNet, or not all of it") from None


def _class_names(wnids: Iterable[str], words: str) -> tuple[str, ...]:
    """The first of the words behind each WordNet number ("goldfish, Carassius auratus"), made unique."""
    words_of = dict(line.split("\t", 1) for line in words.splitlines() if "\t" in line)
    names = [words_of.get(wnid, wnid).split(",")[0].strip() for wnid in wnids]
    times = Counter(names)
    return tuple(name if times[name] == 1 else f"{name} ({wnid})" for name, wnid in zip(names, wnids, strict=True))


def _train(archive: zipfile.ZipFile, wnids: dict[str, int]) -> dict[str, int]:
    """File -> class, sorted by class and name."""
    images = re.findall(rf"^({_TOP}train/(\w+)/images/[^/\n]+\.JPEG)$", "\n".join(archive.namelist()), re.MULTILINE)
    if disputed := sorted({*wnids} ^ {wnid for _, wnid in images}):
        raise ValueError(f"wnids.txt and train/ of {FILENAME} disagree about {', '.join(disputed[:5])}: fetch it again")
    return {name: wnids[wnid] for name, wnid in sorted(images)}


def _validation(archive: zipfile.ZipFile, wnids: dict[str, int]) -> dict[str, int]:
    """File -> class, in the order of val_annotations.txt, whose lines begin with a file's name and its class."""
    lines = [line.split("\t") for line in _text(archive, "val/val_annotations.txt").splitlines() if line]
    top = f"{_TOP}val/images/"
    labels = {top + line[0]: line[1] if len(line) > 1 else "" for line in lines}
    images = {name for name in archive.namelist() if name.startswith(top) and name.endswith(".JPEG")}
    if unmatched := sorted(images ^ labels.keys()):
        problem = f"{len(unmatched)} of {len(images | labels.keys())} validation images are not whole"
        missing = "annotation in val_annotations.txt" if unmatched[0] in images else "image"
        raise ValueError(f"{problem}: {unmatched[0]} has no {missing}. Fetch {FILENAME} again")
    if unknown := [f'{name} the class "{wnid}"' for name, wnid in labels.items() if wnid not in wnids]:
        raise ValueError(f"val_annotations.txt gives {unknown[0]}, which wnids.txt lacks: fetch {FILENAME} again")
    return {name: wnids[wnid] for name, wnid in labels.items()}
