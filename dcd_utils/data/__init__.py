"""Images in memory: sources by name, image sets, and the 162 views.

A source is a file here, whose function `load` returns (train, test) on the CPU; `load` below says what all share.
"""

import inspect
import os
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import torch

from dcd_utils import files, runtime
from dcd_utils.data import views
from dcd_utils.data.image_set import ImageSet

__all__ = ["ImageSet", "load", "names", "views"]

# source -> what logs and tables call it
_SOURCES = {"shapes": "shapes", "new_shapes": "new_shapes", "cifar100": "CIFAR-100", "stl10": "STL-10",
            "tiny_imagenet": "Tiny ImageNet", "imagenet": "ImageNet", "folder": ""}  # fmt: skip


def names() -> list[str]:
    """Every source that `load` knows."""
    return list(_SOURCES)


def load(
    name: str, root: str | os.PathLike | None = None, download: bool = True, device: torch.device | str | None = None,
    **options,
) -> tuple[ImageSet, ImageSet]:  # fmt: skip
    """(train, test) of a data set, on the device.

    Args:
        name: "shapes" (embedded, 20 classes, no download), "new_shapes" (embedded, 16 other classes, to transfer to),
            "cifar100", "stl10" or "tiny_imagenet" (downloaded; every time they are loaded, their checksums must hold),
            "folder" (ROOT/train/<class>/*, ROOT/test/<class>/*), or "imagenet" (the same, streamed, at a side of 224).
        root: where the data lies or is downloaded to; None: the project's data folder. "folder" and "imagenet" need it.
        download: whether absent data may be downloaded.
        device: None: the one that `runtime.device` chooses.
        **options: of the source. train_size, test_size: for "shapes" and "new_shapes". side: height and width in
            pixels, at least 16 (32), for "stl10", "tiny_imagenet" and "folder"; images of another size are scaled
            (bilinear) and cropped at the centre. url: of a mirror, for what is downloaded. cache: whether the decoded
            images of "tiny_imagenet" and "folder" are kept under `data/cache/` (True), until the files change. stream,
            for "folder": read, crop (at random) and scale the files anew for each batch, instead of once into memory;
            None: if more than 4 GB would be decoded. workers: processes that read ahead; None: as many as cores allow.

    Raises:
        ValueError: unknown name, "folder" without a root, "shapes" or "new_shapes" with one, an impossible side, or
            files that disagree or cannot be read.
        FileNotFoundError: a folder lacks a part, or images of a training class.
        RuntimeError: downloaded files are absent or damaged and could not be downloaded; says what to do.
    """
    if name not in _SOURCES:
        raise ValueError(f'data set "{name}" does not exist: choose one of {", ".join(_SOURCES)}')
    if name in ("folder", "imagenet") and root is None:
        raise ValueError(f'load("{name}") needs root=: the path of train/<class>/<image> and test/<class>/<image>')
    if name in ("shapes", "new_shapes") and root is not None:
        raise ValueError(f'"{name}" is drawn, it takes no root: did you mean the data set "folder" (--dataset folder)?')
    if options.get("side", 32) < 16:
        raise ValueError(f"side={options['side']} was given: the networks take images of 16 pixels or more")
    place = files.data_dir() if root is None else Path(root).expanduser()
    arguments = {"shapes": (), "new_shapes": (), "folder": (place,), "imagenet": (place,)}.get(name, (place, download))
    source = import_module(f"dcd_utils.data.{name}").load
    if strangers := set(options) - set(inspect.signature(source).parameters):
        raise ValueError(f'"{name}" takes no {", ".join(sorted(strangers))}: leave it out, or choose another data set')
    parts = source(*arguments, **options)
    device = runtime.device() if device is None else torch.device(device)
    return tuple(replace(part.to(device), name=_SOURCES[name] or place.resolve().name) for part in parts)
