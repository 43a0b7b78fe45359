"""CIFAR-100 (Krizhevsky, 2009): 50,000 training and 10,000 test images of 32x32, 100 classes in 20 superclasses."""

from pathlib import Path

import torch
from torchvision import datasets

from dcd_utils.data import downloads
from dcd_utils.data.image_set import ImageSet

MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)

SUPERCLASSES = {
    "aquatic mammals": "beaver dolphin otter seal whale", "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip", "food containers": "bottle bowl can cup plate",
    "fruit and vegetables": "apple mushroom orange pear sweet_pepper",
    "household electrical devices": "clock keyboard lamp telephone television",
    "household furniture": "bed chair couch table wardrobe", "insects": "bee beetle butterfly caterpillar cockroach",
    "large carnivores": "bear leopard lion tiger wolf",
    "large man-made outdoor things": "bridge castle house road skyscraper",
    "large natural outdoor scenes": "cloud forest mountain plain sea",
    "large omnivores and herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium-sized mammals": "fox porcupine possum raccoon skunk",
    "non-insect invertebrates": "crab lobster snail spider worm", "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle", "small mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles 1": "bicycle bus motorcycle pickup_truck train", "vehicles 2": "lawn_mower rocket streetcar tank tractor",
}  # fmt: skip
_SUPERCLASS_OF = {name: index for index, names in enumerate(SUPERCLASSES.values()) for name in names.split()}


def superclasses_of(classes) -> tuple[tuple[int, ...], tuple[str, ...]] | tuple[None, None]:
    """(superclass index per class, superclass names) if `classes` are CIFAR-100's, in any order; else (None, None)."""
    if set(classes) != set(_SUPERCLASS_OF):
        return None, None
    return tuple(_SUPERCLASS_OF[name] for name in classes), tuple(SUPERCLASSES)


def load(root: Path, download: bool = True, url: str | None = None) -> tuple[ImageSet, ImageSet]:
    """See `data.load`."""
    base = datasets.CIFAR100
    source = type("CIFAR100", (base,), {"url": url or base.url})
    with downloads.advice("CIFAR-100", root, base.filename, base.tgz_md5):
        if download and url and not url.startswith("http"):  # torchvision finds it there
            downloads.fetch(url, root, base.filename, base.tgz_md5)
        parts = [source(root, train=train, download=download) for train in (True, False)]
    images = [torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous() for part in parts]
    labels, classes = [torch.tensor(part.targets) for part in parts], tuple(parts[0].classes)
    details = classes, MEAN, STD, *superclasses_of(classes)
    return tuple(ImageSet(*pair, *details) for pair in zip(images, labels, strict=True))
