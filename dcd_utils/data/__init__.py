"""Images in memory: sources by name, image sets, and the 162 views."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from dcd_utils import runtime
from dcd_utils.data import views
from dcd_utils.data.image_set import ImageSet

__all__ = ["ImageSet", "load", "names", "views"]

_SOURCES = ("shapes", "cifar100", "folder")


def names() -> list[str]:
    """Every source that `load` knows."""
    return list(_SOURCES)


def load(
    name: str,
    root: str | os.PathLike | None = None,
    download: bool = True,
    device: torch.device | str | None = None,
    **options,
) -> tuple[ImageSet, ImageSet]:
    """(train, test) of a data set, on the device.

    Args:
        name: "shapes" (embedded, 20 classes, no download), "cifar100", or "folder" (ROOT/train/<class>/*,
            ROOT/test/<class>/*).
        root: where the data lies or is downloaded to; None: the project's data folder. "folder" needs it.
        download: whether absent data may be downloaded.
        device: None: the one that `runtime.device` chooses.
        **options: of the source, for instance train_size for "shapes", side for "folder", url for "cifar100".

    Raises:
        ValueError: unknown name (the message lists the names), or "folder" without a root. Sources raise their own
            errors.
    """
    if name not in _SOURCES:
        raise ValueError(f'data set "{name}" does not exist: choose one of {", ".join(_SOURCES)}')
    place = runtime.data_dir() if root is None else Path(root).expanduser()
    if name == "shapes":
        from dcd_utils.data import shapes

        parts = shapes.load(**options)
    elif name == "cifar100":
        from dcd_utils.data import cifar100

        parts = cifar100.load(place, download, **options)
    else:
        from dcd_utils.data import folder

        if root is None:
            raise ValueError(
                'load("folder") needs root=: the path that holds train/<class>/<image> and test/<class>/<image>'
            )
        parts = folder.load(place, **options)
    device = runtime.device() if device is None else torch.device(device)
    return tuple(part.to(device) for part in parts)
