"""STL-10 (Coates, Ng and Lee, 2011): 5,000 labelled training and 8,000 test images of 96x96 in 10 classes."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.datasets import STL10
from torchvision.datasets.utils import check_integrity

from dcd_utils.data import decoding, downloads
from dcd_utils.data.image_set import ImageSet

MEAN, STD = (0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2712)


def load(root: Path, download: bool = True, side: int = 32, url: str | None = None) -> tuple[ImageSet, ImageSet]:
    """See `data.load`. Of the archive (2.6 GB), only the files of labelled images are taken out; folds are left out."""
    folder = root / STL10.base_folder
    parts = [STL10.train_list[:2], STL10.test_list]  # the third training file holds 2.7 GB of images without labels
    expected = {name: md5 for part in parts for name, md5 in part} | {STL10.class_names_file: None}

    def missing():
        return [name for name, md5 in expected.items() if not check_integrity(folder / name, md5)]

    with downloads.advice("STL-10", root, STL10.filename, STL10.tgz_md5):
        if names := missing():
            archive = downloads.fetch(url or STL10.url, root, STL10.filename, STL10.tgz_md5, download)
            downloads.take_from_tar(archive, root, [f"{STL10.base_folder}/{name}" for name in names])
            if names := missing():
                raise RuntimeError(f"{', '.join(names)} of {STL10.filename}: another md5 than torchvision expects")
    classes = tuple((folder / STL10.class_names_file).read_text(encoding="utf-8").split())
    sets = []
    for (images, _), (labels, _) in parts:
        stored = np.fromfile(folder / images, np.uint8).reshape(-1, 3, 96, 96)  # image, channel, column, row
        small = np.stack([decoding.pixels(Image.fromarray(image.T), side, []) for image in stored])
        numbers = torch.from_numpy(np.fromfile(folder / labels, np.uint8).astype(np.int64) - 1)  # stored from 1
        sets.append(ImageSet(torch.from_numpy(small), numbers, classes, MEAN, STD))
    return tuple(sets)
