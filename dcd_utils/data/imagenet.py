"""ImageNet, or a part of it, from its usual folders: ROOT/train/<class>/* and ROOT/val/<class>/*, streamed."""

from pathlib import Path

from dcd_utils.data import folder
from dcd_utils.data.image_set import ImageSet


def load(root: Path, side: int = 224, workers: int | None = None) -> tuple[ImageSet, ImageSet]:
    """See `data.load`. The same classes in both parts are expected, else FileNotFoundError."""
    train, test = folder.load(root, side, stream=True, workers=workers, tested=("val", "test"))
    counts = test.labels.bincount(minlength=test.num_classes).tolist()
    if 0 in counts:
        missing = [name for name, count in zip(test.classes, counts, strict=True) if not count]
        found = f'"{root}" has no test images of {len(missing)} classes ({", ".join(missing[:3])}, ...)'
        raise FileNotFoundError(f"{found}: unpack the rest, or remove these classes from train")
    return train, test
