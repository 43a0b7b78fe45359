"""Images that do not fit into memory: files that are decoded, cropped and flipped when a batch asks for them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from dcd_utils import distributed, files, runtime
from dcd_utils.data import decoding
from dcd_utils.data.image_set import ImageSet

# what torchvision's weights were trained with; whoever looks at files only once has no others
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_FORMAT = 1  # part of every digest: raise it when the same file gives other pixels than before


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Stands where a set in memory has its tensor of images: uint8 [N, 3, side, side] to be read.

    Attributes:
        folder, names, sizes: where the files lie, their paths in it (bytes, one array: no worker copies it), bytes.
        side: height and width.
        device: where batches go.
        workers: processes that read ahead; 0: none, each batch is read when its turn comes.
        buffer: uint8 [slots, B, side, side, 3], which all processes share: batches are written into it in turn.
    """

    folder: Path
    names: np.ndarray
    sizes: np.ndarray
    side: int
    workers: int
    device: torch.device = torch.device("cpu")
    buffer: Tensor | None = None
    dtype, ndim = torch.uint8, 4

    @property
    def shape(self) -> torch.Size:
        return torch.Size([len(self.names), 3, self.side, self.side])

    def __getitem__(self, indices: Tensor) -> ImageFiles:
        return replace(self, names=self.names[indices.cpu().numpy()], sizes=self.sizes[indices.cpu().numpy()])

    def to(self, device: torch.device | str) -> ImageFiles:
        return replace(self, device=torch.device(device))

    def __getitems__(self, step: tuple[int, np.ndarray, np.ndarray | None]) -> tuple[str, float]:
        """Read a step (slot, indices, views) into its slot of the buffer; return what is wrong with one of the files,
        and how many seconds of a core it took.

        A view is the seed of a random resized crop and a flip, as ImageNet is trained on; None: the middle of the image
        at 8/7 of the side (256 for 224), as it is tested on.
        """
        crop = v2.Compose([v2.RandomResizedCrop(self.side), v2.RandomHorizontalFlip()])
        middle = v2.Compose([v2.Resize(round(self.side * 8 / 7)), v2.CenterCrop(self.side)])
        (slot, indices, views), start = step, time.thread_time()
        drawn = [None] * len(indices) if views is None else views.tolist()
        try:
            with torch.random.fork_rng(devices=[]):
                for row, index, view in zip(self.buffer[slot].numpy(), indices.tolist(), drawn, strict=False):
                    image = decoding.read(self.folder / os.fsdecode(self.names[index]), [])
                    if view is not None:
                        torch.default_generator.manual_seed(view)
                    row[:] = (middle if view is None else crop)(image)
        except ValueError as error:
            return str(error), 0.0
        return "", time.thread_time() - start


class StreamedSet(ImageSet):
    """A set whose `images` are ImageFiles. Views are without number: each is a seed (see there)."""

    num_views = 2**62
    streams = True
    reading = property(lambda self: self._memo.get("reading", 0.0))

    def batches(self, steps: Iterable[tuple[Tensor, Tensor | None]]) -> Iterator[Tensor]:
        """Yield `batch(indices, views)` for each step, read ahead: the same whatever the number of workers.

        Raises ValueError that names a file which cannot be read, and RuntimeError where a worker dies or the memory
        that the workers share is too small.
        """
        steps, workers, side = list(steps), self.images.workers, self.images.side
        slots = 2 * workers + 1  # the loader keeps two batches of each worker under way, and one is in use
        largest = max((len(indices) for indices, _ in steps), default=0)
        buffer = torch.empty(slots, largest, side, side, 3, dtype=torch.uint8)
        numbered = [
            (number % slots, indices.cpu().numpy(), None if views is None else views.cpu().numpy())
            for number, (indices, views) in enumerate(steps)
        ]
        advice = "choose fewer workers or a smaller batch"
        try:
            loader = DataLoader(
                replace(self.images, buffer=buffer.share_memory_() if workers else buffer), batch_sampler=numbered,
                num_workers=workers, collate_fn=tuple, generator=torch.Generator(),  # and not everybody's
            )
            for (problem, seconds), (slot, indices, _) in zip(loader, numbered, strict=True):
                if problem:
                    raise ValueError(problem)
                self._memo["reading"] = seconds if workers else 0.0
                pixels = buffer[slot, : len(indices)].permute(0, 3, 1, 2)  # the channels last, as training wants them
                if self.device.type == "cuda":
                    pixels = pixels.pin_memory().to(self.device, non_blocking=True)
                yield self.normalize(pixels.to(self.device))
        except RuntimeError as error:
            if "shared memory" in str(error):
                advice += ", or give the container more (docker run --shm-size)"
                given = f"what workers read ahead, {buffer.nbytes / 1e6:,.0f} MB, does not fit into the shared memory"
                raise RuntimeError(f"{given}: {advice} ({error})") from error
            if "DataLoader worker" not in str(error):
                raise
            problem = "a process that reads images was ended, probably for want of memory"
            raise RuntimeError(f"{problem}: {advice} ({error})") from error

    def batch(self, indices: Tensor, views: Tensor | None = None) -> Tensor:
        [images] = replace(self, images=replace(self.images, workers=0)).batches([(indices, views)])
        return images

    def digest(self) -> str:
        """SHA-256 of names, sizes, labels, classes and side: what lies in the files is not read for it."""
        names, sizes = self.images.names, self.images.sizes
        facts = [_FORMAT, self.images.side, self.classes, files.sha256(names.tobytes()), str(names.dtype)]
        facts += [files.sha256(sizes.tobytes()), files.sha256(self.labels.cpu().numpy().tobytes())]
        return files.sha256(json.dumps(facts).encode())


def default_workers() -> int:
    """Return how many processes read for this one: the cores that training leaves, 16 at most."""
    return max(1, min(17, runtime.cores() // int(os.environ.get("LOCAL_WORLD_SIZE", distributed.world()))) - 1)
