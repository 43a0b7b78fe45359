"""A frozen teacher's answers, stored by (image, view) and read back by every method, seed and run.

A frozen teacher in eval mode is a function of the image and its view, and there are 162 views: its logits and pooled
features can be computed once. They are stored in the very type that the network computed, so nothing is approximated.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, nn

from dcd_utils import runtime
from dcd_utils.data import ImageSet, views
from dcd_utils.models import Features
from dcd_utils.training.loop import FrozenTeacher, autocast
from dcd_utils.training.runs import config_hash

PLACES = ("device", "memory", "file")
STORAGE = {"fp16": torch.float16, "bf16": torch.bfloat16}
_FORMAT = 1
_HEADER = 4096  # bytes in front of a file's table: what it holds, as JSON
_CHUNK = 16384  # rows that are checked or copied at once
_TABLES: dict[str, Table] = {}  # the latest table in memory or on a device, by its key


class CacheDoesNotFit(ValueError):
    """The place that was asked for is too small; says how much is needed and what to choose."""


def parse(cache: str) -> tuple[str, str | None]:
    """("file", "fp16") of "file:fp16": where to keep answers ("auto", "off" or one of PLACES), and in which type.

    Raises:
        ValueError: an unknown place or type.
    """
    place, _, storage = cache.partition(":") if isinstance(cache, str) else (cache, "", "")
    if place not in ("auto", "off", *PLACES) or (storage and storage not in STORAGE):
        raise ValueError(
            f'cache="{cache}" was given: choose "auto", "off", {", ".join(map(repr, PLACES))}, or one of these with '
            f'":fp16" or ":bf16" behind it, which halves a table of 32-bit numbers and is no longer exact'
        )
    return place, storage or None


@dataclass
class Table:
    """Answers by row = image * 162 + view, each row with a checksum; a row that does not match its own is missing.

    So a table that two processes fill, that is cut off, or that a crash left half on the disk is never misread.

    Attributes:
        values: [rows, width], pooled features, then logits.
        sums: int64 [rows], 0 where nothing was stored.
        place: one of PLACES.
        path: of a table in a file.
    """

    values: Tensor
    sums: Tensor
    place: str
    path: Path | None = None

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + self.sums.nbytes

    def holds(self, rows: Tensor) -> Tensor:
        """Which rows are there and whole: bool, like `rows`."""
        parts = [self.sums[part] == _checksums(self.values[part]) for part in rows.split(_CHUNK)]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.bool)

    def write(self, rows: Tensor, values: Tensor) -> None:
        values = values.to(self.values)
        self.values[rows] = values
        self.sums[rows] = _checksums(values)

    def read(self, rows: Tensor) -> Tensor:
        return torch.cat([self.values[part] for part in rows.split(_CHUNK)])


def _checksums(values: Tensor) -> Tensor:
    """An odd number for each row, from its bits and their places."""
    bits = values.view(torch.int32 if values.element_size() == 4 else torch.int16).long()
    return (bits * torch.arange(1, 2 * bits.shape[1], 2, device=bits.device)).sum(dim=1) * 2 + 1


class CachedTeacher(FrozenTeacher):
    """A frozen teacher that answers from a table, and computes only what is missing there.

    Args:
        network: the teacher.
        train: the images that it is asked about.
        precision: "fp32" or "bf16", of its forward pass.
        batch_size: of its forward passes. On a CPU the answers are then, bit for bit, those of a live teacher.
        cache: where to keep the table ("auto", "device", "memory", "file"), with ":fp16" or ":bf16" behind it to store
            less than the network computes. "auto" takes the device's memory, or a file in `data/cache/`, or the
            memory, if the table fills at most half, a quarter, a quarter of what is free there.
        digest: of the teacher's weights, if it is known already.

    Attributes:
        table: where the answers are.
        storage_error: largest difference between a computed number and the stored one, so far; 0 when stored exactly.

    Raises:
        CacheDoesNotFit: the place is too small; says what is needed, what is free and what to choose.
        ValueError: the file holds another table.
    """

    def __init__(
        self,
        network: nn.Module,
        train: ImageSet,
        precision: str,
        batch_size: int,
        cache: str = "auto",
        digest: str | None = None,
    ):
        super().__init__(network, batch_size)
        self.train, self.precision = train, precision
        place, storage = parse(cache)
        example = self._compute(torch.zeros(1, dtype=torch.int64), torch.full((1,), views.IDENTITY))
        self.widths = [example.pooled.shape[1], example.logits.shape[1]]
        self.types = [example.pooled.dtype, example.logits.dtype]
        exact = torch.promote_types(*self.types)
        kept = STORAGE[storage] if storage else exact
        key = {
            "format": _FORMAT,
            "teacher": digest or runtime.digest(network.state_dict()),
            "images": train.digest(),
            "views": f"pad {views.PAD}, crop, flip: {views.NUM_VIEWS}",
            "precision": precision,
            "device": train.device.type,
            "batch_size": batch_size,
            "torch": torch.__version__,
            "type": str(kept).removeprefix("torch."),
            "widths": self.widths,
        }
        self.storage_error = 0.0
        self.table = _open(key, len(train) * views.NUM_VIEWS, sum(self.widths), kept, place, train.device)
        self._answers: Tensor | None = None

    def __str__(self) -> str:
        where = {"device": f"on {self.train.device}", "memory": "in memory", "file": "in a file"}
        return f"{_size(self.table.nbytes)} {where[self.table.place]}"

    def prepare(self, indices: Tensor, drawn: Tensor) -> None:
        """Compute what the table lacks of these (image, view) pairs [N], and bring their answers to the device."""
        rows = (indices * views.NUM_VIEWS + drawn).to(self.table.sums.device)
        missing = (~self.table.holds(rows)).nonzero()[:, 0].to(indices.device)
        for part in missing.split(self.batch_size) if len(missing) else ():
            found = self._compute(indices[part], drawn[part])
            values = torch.cat([found.pooled, found.logits], dim=1)
            self.table.write(rows[part.to(rows.device)], values)
            if self.table.values.dtype != values.dtype:
                error = (values.float() - values.to(self.table.values.dtype).float()).abs().max().item()
                self.storage_error = max(self.storage_error, error)
        answers = self.table.read(rows).to(self.train.device)
        if self._answers is None:  # in one place for good: a recorded step reads it there
            shape = len(self.train), answers.shape[1]
            self._answers = torch.empty(shape, dtype=answers.dtype, device=self.train.device)
        self._answers[indices.to(self.train.device)] = answers

    def __call__(self, images: Tensor, indices: Tensor | None = None) -> Features:
        pooled, logits = self._answers[indices].split(self.widths, dim=1)
        return Features([], pooled.to(self.types[0]), logits.to(self.types[1]))

    def fill(self) -> None:
        """Compute every view of every image now, instead of when it is first asked for."""
        every = torch.arange(len(self.train), device=self.train.device)
        for view in range(views.NUM_VIEWS):
            self.prepare(every, torch.full_like(every, view))

    def _compute(self, indices: Tensor, drawn: Tensor) -> Features:
        indices, drawn = indices.to(self.train.device), drawn.to(self.train.device)
        with autocast(self.train.device, self.precision):
            return super().__call__(self.train.batch(indices, drawn))


def _open(key: dict, rows: int, width: int, dtype: torch.dtype, place: str, device: torch.device) -> Table:
    """The table of a key, as it was left, or a new and empty one."""
    name = config_hash(key)
    nbytes = rows * (width * dtype.itemsize + 8)
    path = runtime.data_dir() / "cache" / f"teacher-{name}.table"
    if place == "auto":
        place = _choose(nbytes, device, path)
    free = _free(place, device, path)
    if place == "file" and path.exists():
        free = None  # its room is taken already
    too_large = CacheDoesNotFit(
        f"the teacher's answers need {_size(nbytes)} ({rows:,} views of images, {width} numbers each), but "
        f'{_where(place, device, path)} has {_size(free or 0)} free: choose cache="off" (the teacher answers live), '
        f'another place ({", ".join(PLACES)}) or a shorter type, as in cache="{place}:fp16"'
    )
    if free is not None and nbytes > free:
        raise too_large
    if place == "file":
        return _open_file(path, key, rows, width, dtype)
    at = device if place == "device" else torch.device("cpu")
    key = f"{place} {at} {name}"
    if key not in _TABLES:
        _TABLES.clear()  # one teacher's table at a time
        try:
            values = torch.empty(rows, width, dtype=dtype, device=at)
            _TABLES[key] = Table(values, torch.zeros(rows, dtype=torch.int64, device=at), place)
        except torch.OutOfMemoryError as error:  # free, but in pieces
            raise too_large from error
    return _TABLES[key]


def _choose(nbytes: int, device: torch.device, path: Path) -> str:
    shares = {"device": 0.5} if device.type == "cuda" else {}
    shares |= {"file": 0.25, "memory": 0.25}
    found = {place: _free(place, device, path) for place in shares}
    for place, share in shares.items():
        if (place == "file" and path.exists()) or (found[place] is not None and nbytes <= share * found[place]):
            return place
    rooms = ", ".join(
        f"{_where(place, device, path)} has {_size(found[place])} free" for place in shares if found[place] is not None
    )
    raise CacheDoesNotFit(
        f"the teacher's answers need {_size(nbytes)}; {rooms}, of which at most "
        f"{', '.join(f'{share:.0%}' for share in shares.values())} are taken unasked"
    )


def _free(place: str, device: torch.device, path: Path) -> int | None:
    """Bytes free in a place; None: unknown."""
    if place == "device":
        return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
    if place == "memory":
        return runtime.free_memory()
    parent = next(folder for folder in path.parents if folder.exists())
    return shutil.disk_usage(parent).free


def _where(place: str, device: torch.device, path: Path) -> str:
    return {"device": str(device), "memory": "the memory", "file": f'the disk of "{path.parent}"'}[place]


def _open_file(path: Path, key: dict, rows: int, width: int, dtype: torch.dtype) -> Table:
    header = json.dumps(key).encode().ljust(_HEADER)
    values, sums = rows * width * dtype.itemsize, rows * 8
    start = _HEADER + sums
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            partial = path.with_suffix(".partial")
            try:
                with partial.open("wb") as file:
                    file.write(header)
                    file.flush()
                    _reserve(file.fileno(), start + values)
                os.replace(partial, path)
            finally:
                partial.unlink(missing_ok=True)
    raw = np.memmap(path, np.uint8, "r+")
    if len(raw) != start + values or bytes(raw[:_HEADER]) != header:
        raise ValueError(f'"{path}" does not hold the answers that its name says: delete it, they are computed anew')
    raw = torch.from_numpy(raw)
    return Table(raw[start:].view(dtype).view(rows, width), raw[_HEADER:start].view(torch.int64), "file", path)


def _reserve(descriptor: int, nbytes: int) -> None:
    """Make a file that long and take its room on the disk now: a mapped page without room would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, nbytes)
        return
    os.lseek(descriptor, 0, os.SEEK_END)
    left = nbytes - os.fstat(descriptor).st_size
    while left > 0:
        left -= os.write(descriptor, bytes(min(left, 1 << 24)))


def _size(nbytes: float) -> str:
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.0f} MB"
