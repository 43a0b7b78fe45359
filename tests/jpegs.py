"""A folder as ImageNet comes: JPEGs of mixed sizes in train/<class> and val/<class>."""

from pathlib import Path

import numpy as np
from PIL import Image

from dcd_utils import data


def write_folder(root: Path, train: int, test: int, largest: int = 200) -> Path:
    """`train` and `test` images of the 20 shapes, each scaled to a size of its own, between 40 and `largest` pixels."""
    sizes = np.random.default_rng(0)
    parts = zip(("train", "val"), data.load("shapes", train_size=train, test_size=test, device="cpu"), strict=True)
    for part, images in parts:
        for number, (pixels, label) in enumerate(zip(images.images, images.labels, strict=True)):
            folder = root / part / images.classes[label].replace(" ", "_")
            folder.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
            image.resize(sizes.integers(40, largest, 2)).save(folder / f"{number}.JPEG", quality=90)
    return root
