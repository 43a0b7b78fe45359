"""Teachers as the loop asks them: none, one that answers live, and one whose answers are stored.

A frozen teacher in eval mode is a function of the image and its view, of which there are 162: its answers are computed
once and read back by every method, seed and run, in the very type that the network computed.
"""

import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
import torch.nn.functional as F
from filelock import FileLock
from torch import Tensor, nn

from dcd_utils import files, runtime
from dcd_utils.data import ImageSet, views
from dcd_utils.models import Features
from dcd_utils.training import threads
from dcd_utils.training.config import network_facts
from dcd_utils.training.recipe import autocast

PLACES = ("device", "memory", "file")
_UNASKED = {"device": 0.5, "file": 0.25, "memory": 0.25}  # the share of what is free that "auto" takes at most
_FORMAT = 3
_HEADER = 4096  # bytes in front of a file's table: what it holds, as JSON
_CHUNK = 16384  # rows that are checked at once


class NoTeacher:
    """Stands where a teacher would when a network learns from labels alone."""

    def __call__(self, *_: Tensor) -> None:
        """Do nothing."""

    prepare = __call__


class FrozenTeacher:
    """A network in eval mode that answers without gradients. A batch shorter than `batch_size` is filled up to it,
    since the size of a batch decides the last bits of an answer."""

    def __init__(self, network: nn.Module, batch_size: int | None = None):
        self.network, self.batch_size = network.eval(), batch_size

    def prepare(self, indices: Tensor, views: Tensor) -> None:
        """Be told before an epoch which images will be asked about, in which views: both [N]."""

    @torch.no_grad()
    def __call__(self, images: Tensor, indices: Tensor | None = None) -> Features:
        """Return the answers to images [B, 3, H, W], which are those at `indices` [B] of the training images."""
        count, missing = len(images), (self.batch_size or 0) - len(images)
        if missing > 0:  # pad keeps the layout in memory, which decides the last bits as well
            images = F.pad(images, (0, 0, 0, 0, 0, 0, 0, missing))
        maps, pooled, logits = self.network.features(images)
        return Features([stage_map[:count] for stage_map in maps], pooled[:count], logits[:count])


@contextmanager
def lent(network: nn.Module | None) -> Iterator[None]:
    """Give a teacher back to its owner with the modes of all its parts as they were."""
    modes = {module: module.training for module in network.modules()} if network is not None else {}
    try:
        yield
    finally:
        for module, training in modes.items():  # each before its children
            if module.training != training:
                module.train(training)  # a network of torchvision's takes another graph then


def check_cache(cache: str) -> None:
    if cache not in ("auto", "off", *PLACES):
        raise ValueError(f'cache="{cache}" was given: choose "auto", "off", {", ".join(map(repr, PLACES))}')


class CacheDoesNotFit(ValueError):
    """The table is larger than its place; says how much is needed, how much is free, and what to choose."""


@dataclass
class Table:
    """Answers by row = image * 162 + view, each row with a checksum; a row that does not match its own is missing: a
    table that two processes fill, that is cut off, or that a crash left half on the disk is never misread."""

    values: Tensor  # [rows, width]: pooled features, then logits
    sums: Tensor  # int64 [rows], 0 where nothing was stored
    place: str  # one of PLACES

    def holds(self, rows: Tensor) -> Tensor:
        """Return which rows are there and whole: bool, like `rows`."""
        return torch.cat([self.sums[chunk] == _checksums(self.values[chunk]) for chunk in rows.split(_CHUNK)])

    def write(self, rows: Tensor, values: Tensor) -> None:
        self.values[rows] = values = values.to(self.values)
        self.sums[rows] = _checksums(values)


def _checksums(values: Tensor) -> Tensor:
    """An odd number for each row, from its bits and their places; one that is far from 0 where all are zero."""
    bits = values.view(torch.int32 if values.element_size() == 4 else torch.int16).long()
    return (bits * torch.arange(1, 2 * bits.shape[1], 2, device=bits.device)).sum(dim=1) * 2 + 0x5DEECE66D


_TABLES: dict[str, Table] = {}  # the latest table in memory or on a device, by its key


class StoredTeacher(FrozenTeacher):
    """A frozen teacher that answers from a table, and computes only what is missing there.

    Args:
        train: the images that the teacher is asked about.
        precision, batch_size: of its forward passes. On a CPU the answers are, bit for bit, those of a live teacher
            that has as many threads.
        cache: where to keep the table. "auto" takes the device's memory, or a file in `data/cache/`, or the memory, if
            the table fills at most half, a quarter, a quarter of what is free there.
        facts: `network_facts` of the teacher, if they are known already.

    A table that is larger than its place (CacheDoesNotFit), or a file that holds another one, is a ValueError.
    """

    def __init__(
        self, network: nn.Module, train: ImageSet, precision: str, batch_size: int, cache: str = "auto",
        facts: dict | None = None,
    ):
        super().__init__(network, batch_size)
        self.train, self.precision = train, precision
        check_cache(cache)
        example = self._compute(torch.zeros(1, dtype=torch.int64), torch.full((1,), views.IDENTITY))
        self.widths = [example.pooled.shape[1], example.logits.shape[1]]
        self.types = [example.pooled.dtype, example.logits.dtype]
        stored_type = torch.promote_types(*self.types)
        key = {
            "format": _FORMAT, "teacher": facts or network_facts(network, train.num_classes),
            "images": train.digest(), "views": f"pad {views.PAD}, crop, flip: {views.NUM_VIEWS}",
            "precision": precision, "device": train.device.type, "batch_size": batch_size, "torch": torch.__version__,
            "type": str(stored_type).removeprefix("torch."), "widths": self.widths,
        }
        name = files.sha256(json.dumps(key, sort_keys=True).encode())
        self.table = _open(name, len(train) * views.NUM_VIEWS, sum(self.widths), stored_type, cache, train.device)
        self._answers = torch.empty(len(train), sum(self.widths), dtype=stored_type, device=train.device)

    def __str__(self) -> str:
        where = {"device": f"on {self.train.device}", "memory": "in memory", "file": "in a file"}
        return f"{_size(self.table.values.nbytes + self.table.sums.nbytes)} {where[self.table.place]}"

    def prepare(self, indices: Tensor, drawn: Tensor) -> None:
        """Compute what the table lacks of these (image, view) pairs [N], and bring their answers to the device."""
        rows = (indices * views.NUM_VIEWS + drawn).to(self.table.sums.device)
        missing = (~self.table.holds(rows)).nonzero()[:, 0].to(indices.device)
        for batch in missing.split(self.batch_size) if len(missing) else ():
            threads.settle()
            answers = self._compute(indices[batch], drawn[batch])
            self.table.write(rows[batch.to(rows.device)], torch.cat([answers.pooled, answers.logits], dim=1))
        self._answers[indices.to(self.train.device)] = self.table.values[rows].to(self.train.device)

    def __call__(self, images: Tensor, indices: Tensor | None = None) -> Features:
        pooled, logits = self._answers[indices].split(self.widths, dim=1)
        return Features([], pooled.to(self.types[0]), logits.to(self.types[1]))

    def _compute(self, indices: Tensor, drawn: Tensor) -> Features:
        indices, drawn = indices.to(self.train.device), drawn.to(self.train.device)
        with autocast(self.train.device, self.precision):
            return super().__call__(self.train.batch(indices, drawn))


def _open(name: str, rows: int, width: int, dtype: torch.dtype, place: str, device: torch.device) -> Table:
    """Return the table of that name, as it was left, or a new and empty one."""
    nbytes = rows * (width * dtype.itemsize + 8)
    path = files.data_dir() / "cache" / f"teacher-{name[:12]}.table"
    free = _free(device, path)
    need = f"the teacher's answers need {_size(nbytes)}"
    rooms = {"device": str(device), "file": f'the disk of "{path.parent}"', "memory": "the memory"}
    rooms = {place: f"{room} has {_size(free[place] or 0)} free" for place, room in rooms.items()}
    if place == "auto":
        shares = {place: share for place, share in _UNASKED.items() if free[place] is not None}
        place = next((place for place, share in shares.items() if nbytes <= share * free[place]), "none")
        if place == "none":
            percentages = ", ".join(f"{share:.0%}" for share in shares.values())
            there = ", ".join(rooms[place] for place in shares)
            raise CacheDoesNotFit(f"{need}; {there}, of which at most {percentages} are taken unasked")
    too_large = CacheDoesNotFit(
        f"{need} ({rows:,} views of images, {width} numbers each), but {rooms[place]}: "
        f'choose cache="off" (the teacher answers live) or another place ({", ".join(PLACES)})'
    )
    if free[place] is not None and nbytes > free[place]:
        raise too_large
    if place == "file":
        return _open_file(path, name, rows, width, dtype)
    at = device if place == "device" else "cpu"
    name = f"{place} {at} {name}"
    if name not in _TABLES:
        _TABLES.clear()  # one teacher's table at a time
        try:
            values = torch.empty(rows, width, dtype=dtype, device=at)
            _TABLES[name] = Table(values, torch.zeros(rows, dtype=torch.int64, device=at), place)
        except torch.OutOfMemoryError as error:  # free, but in pieces
            raise too_large from error
    return _TABLES[name]


def _free(device: torch.device, path: Path) -> dict[str, float | None]:
    """Return the bytes free in each place for a table, which needs none where its file exists; None: unknown."""
    disk = next(folder for folder in path.parents if folder.exists())
    return {
        "device": torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None,
        "file": math.inf if path.exists() else shutil.disk_usage(disk).free, "memory": runtime.free_memory(),
    }


def _open_file(path: Path, name: str, rows: int, width: int, dtype: torch.dtype) -> Table:
    header, start = json.dumps({"table": name}).encode().ljust(_HEADER), _HEADER + rows * 8
    size = start + rows * width * dtype.itemsize
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            partial = path.with_suffix(".partial")
            try:
                with partial.open("wb") as file:
                    file.write(header)
                    _reserve(file, size)
                os.replace(partial, path)
            finally:
                partial.unlink(missing_ok=True)
    with path.open("rb") as file:
        intact = path.stat().st_size == size and file.read(_HEADER) == header
    if not intact:
        raise ValueError(f'"{path}" does not hold the answers that its name says: delete it, they are computed anew')
    content = torch.from_file(str(path), shared=True, size=size, dtype=torch.uint8)
    return Table(content[start:].view(dtype).view(rows, width), content[_HEADER:start].view(torch.int64), "file")


def _reserve(file: BinaryIO, nbytes: int) -> None:
    """Make a file that long and take its room on the disk now: a mapped page without room would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, nbytes)
        return
    for missing in range(nbytes - file.tell(), 0, -(1 << 24)):
        file.write(bytes(min(missing, 1 << 24)))


def _size(nbytes: float) -> str:
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.0f} MB"
