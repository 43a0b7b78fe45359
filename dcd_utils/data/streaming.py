"""Images that do not fit into memory: files that are decoded, cropped and flipped when a batch asks for them."""

from __future__ import annotations

import json
import os
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
    """

    folder: Path
    names: np.ndarray
    sizes: np.ndarray
    side: int
    workers: int
    device: torch.device = torch.device("cpu")
    dtype, ndim = torch.uint8, 4

    @property
    def shape(self) -> torch.Size:
        return torch.Size([len(self.names), 3, self.side, self.side])

    def __getitem__(self, indices: Tensor) -> ImageFiles:
        return replace(self, names=self.names[indices.cpu().numpy()], sizes=self.sizes[indices.cpu().numpy()])

    def to(self, device: torch.device | str) -> ImageFiles:
        return replace(self, device=torch.device(device))

    def __getitems__(self, pairs: list[tuple[int, int | None]]) -> Tensor | str:
        """The pixels of each (index, view), uint8 [B, 3, side, side], or what is wrong with one of the files.

        A view is the seed of a random resized crop and a flip, as ImageNet is trained on; None: the middle of the image
        at 8/7 of the side (256 for 224), as it is tested on.
        """
        crop = v2.Compose([v2.RandomResizedCrop(self.side), v2.RandomHorizontalFlip()])
        middle = v2.Compose([v2.Resize(round(self.side * 8 / 7)), v2.CenterCrop(self.side)])
        pixels = torch.empty(len(pairs), self.side, self.side, 3, dtype=torch.uint8)
        try:
            with torch.random.fork_rng(devices=[]):
                for row, (index, view) in enumerate(pairs):
                    image = decoding.read(self.folder / os.fsdecode(self.names[index]), [])
                    if view is not None:
                        torch.manual_seed(view)
                    pixels[row] = torch.from_numpy(np.array((middle if view is None else crop)(image)))
        except ValueError as error:
            return str(error)
        return pixels.permute(0, 3, 1, 2)  # the channels last, as training wants them


class StreamedSet(ImageSet):
    """A set whose `images` are ImageFiles. Views are without number: each is a seed (see there)."""

    num_views = 2**62
    streams = True

    def batches(self, steps: Iterable[tuple[Tensor, Tensor | None]]) -> Iterator[Tensor]:
        """Yield `batch(indices, views)` for each step, read ahead: the same whatever the number of workers.

        Raises ValueError that names a file which cannot be read, and RuntimeError where a worker dies.
        """
        pairs = (list(zip(i.tolist(), [None] * len(i) if v is None else v.tolist(), strict=True)) for i, v in steps)
        loader = DataLoader(
            self.images, batch_sampler=pairs, num_workers=self.images.workers, collate_fn=_as_it_is,
            pin_memory=self.device.type == "cuda", generator=torch.Generator(),  # and not everybody's
        )
        try:
            for pixels in loader:
                if isinstance(pixels, str):
                    raise ValueError(pixels)
                yield self.normalize(pixels.to(self.device, non_blocking=True))
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            advice = "probably for want of memory: choose fewer workers or a smaller batch"
            raise RuntimeError(f"a process that reads images was ended, {advice} ({error})") from error

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


def _as_it_is(batch: Tensor | str) -> Tensor | str:
    return batch
