"""A set of labelled images as tensors in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from dcd_utils import runtime
from dcd_utils.data import views as view_scheme


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images on one device.

    Attributes:
        images: uint8 [N, 3, H, W].
        labels: int64 [N].
        classes: a name for each class.
        superclasses: for each class the index of its superclass, or None.
        superclass_names: a name for each superclass, or None.
        mean, std: per channel, of pixel values in [0, 1], used by `normalize`.
        name: what logs and tables call the data; it is no part of the digest.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    superclasses: tuple[int, ...] | None = None
    superclass_names: tuple[str, ...] | None = None
    name: str = field(default="", kw_only=True)
    num_views = view_scheme.NUM_VIEWS  # how many ways there are to augment an image
    streams = False  # whether the images are files that are read when they are asked for
    reading = 0.0  # seconds of a core that other processes took to read the last batch
    _memo: dict = field(default_factory=dict, init=False, repr=False)  # never shared with a set made from this one

    def __post_init__(self):
        for name in ("images", "labels"):
            if not isinstance(value := getattr(self, name), Tensor) and not (name == "images" and self.streams):
                given = f"{name} are of the type {type(value).__name__}"
                raise ValueError(f"{given}: expected a tensor, as torch.as_tensor({name}) makes of it")
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or self.images.shape[1] != 3:
            given = f"images are {self.images.dtype} {tuple(self.images.shape)}: expected uint8 [N, 3, H, W]"
            advice = "images.permute(0, 3, 1, 2) moves the channels, images.expand(-1, 3, -1, -1) makes three of one"
            raise ValueError(f"{given}; {advice}")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            given = f"{self.labels.dtype} {tuple(self.labels.shape)}"
            raise ValueError(f"labels are {given}: expected int64 [{len(self.images)}], one per image (labels.long())")
        lowest, highest = (int(self.labels.min()), int(self.labels.max())) if len(self.labels) else (0, 0)
        if not 0 <= lowest <= highest < len(self.classes):
            raise ValueError(f"labels run from {lowest} to {highest}, but there are {len(self.classes)} classes")
        if isinstance(self.classes, str):
            raise ValueError(f"classes={self.classes!r} was given: expected a tuple of names")
        mean, std = (torch.as_tensor(values, dtype=torch.float64) for values in (self.mean, self.std))
        fit = mean.shape == std.shape == (3,) and (mean >= 0) & (mean <= 1) & (std > 0) & std.isfinite()
        if fit is False or not fit.all():
            given = f"mean={self.mean} and std={self.std} were given, of pixels from 0 to 1"
            raise ValueError(f"{given}: expected three of each, one per channel, means in that range, no std of 0")
        for name, values in (("classes", self.classes), ("mean", mean.tolist()), ("std", std.tolist())):
            if not isinstance(getattr(self, name), tuple):
                object.__setattr__(self, name, tuple(values))

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        side = "x".join(map(str, self.images.shape[2:]))
        return f"ImageSet({len(self):,} images of {side}, {self.num_classes} classes, on {self.device})"

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def device(self) -> torch.device:
        return self.images.device

    def to(self, device: torch.device | str) -> ImageSet:
        """The same set on another device."""
        if torch.device(device) == self.device:
            return self
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def subset(self, indices) -> ImageSet:
        """The images at `indices` (integers or a boolean mask), classes unchanged."""
        indices = torch.as_tensor(indices, device=self.device)
        if indices.dtype != torch.bool:
            indices = indices.long()  # an empty list arrives as floats
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def hold_out(self, count: int, seed: int = 0) -> tuple[ImageSet, ImageSet]:
        """(the rest, `count` images held out), every class in both by its share: settings are chosen on the second.

        Raises ValueError if fewer images than classes would be held out, or remain, or a class has a single image.
        """
        from sklearn.model_selection import train_test_split

        least, most = self.num_classes, len(self) - self.num_classes
        if not least <= count <= most:
            possible = f"with {self.num_classes} classes, between {least} and {most} can be"
            raise ValueError(f"{count} of {len(self)} images were to be held out: {possible}")
        counts = self.labels.bincount(minlength=self.num_classes).tolist()
        if 1 in counts:
            lone = f'class "{self.classes[counts.index(1)]}" has a single image, which cannot be in both parts'
            raise ValueError(f"{lone}: add a second one, or leave the class out")
        parts = train_test_split(range(len(self)), test_size=count, stratify=self.labels.cpu(), random_state=seed)
        name = ", ".join(filter(None, [self.name, f"{count:,} training images held out to test on"]))
        return tuple(replace(self.subset(sorted(part)), name=name) for part in parts)

    def digest(self) -> str:
        """SHA-256 of images, labels and normalisation; equal digests mean equal data."""
        if "digest" not in self._memo:
            tensors = {"images": self.images, "labels": self.labels, "mean_std": torch.tensor([self.mean, self.std])}
            self._memo["digest"] = runtime.digest(tensors)
        return self._memo["digest"]

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] -> float32 (pixel / 255 - mean) / std."""
        (size, _, height, width), key = images.shape, (images.device, images.shape[3])
        if key not in self._memo:  # brought to the device once: at each step it would keep the host waiting
            mean, std = (torch.tensor(values, device=images.device).repeat(width) for values in (self.mean, self.std))
            self._memo[key] = 1 / (255 * std), mean / std
        factor, shift = self._memo[key]
        normalized = images.to(torch.float32, memory_format=torch.channels_last)
        # a CPU is three times as fast in long rows
        normalized.permute(0, 2, 3, 1).view(size, height, 3 * width).mul_(factor).sub_(shift)
        return normalized

    def batches(self, steps: Iterable[tuple[Tensor, Tensor | None]]) -> Iterator[Tensor]:
        """Yield `batch(indices, views)` for each step."""
        for indices, views in steps:
            yield self.batch(indices, views)

    def batch(self, indices: Tensor, views: Tensor | None = None) -> Tensor:
        """Normalised images [B, 3, H, W] at `indices`, each in its view (None: as it is)."""
        images = self.images[indices]
        return self.normalize(images if views is None else view_scheme.augment(images, views))
