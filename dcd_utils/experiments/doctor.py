"""What to expect here: what is at hand, how fast this machine trains, how long the course and CIFAR-100 would take."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Collection, Iterator
from dataclasses import replace

import torch

from dcd_utils import files, runtime
from dcd_utils.experiments import speed
from dcd_utils.experiments.profiles import profile
from dcd_utils.records import read_record
from dcd_utils.training import Recipe, threads, train_epoch
from dcd_utils.training.loop import make_optimizer
from dcd_utils.training.recipe import resolve_precision
from dcd_utils.training.runs import RECORD

SECONDS = 2.0  # for a measurement
CIFAR100 = 50_000, 10_000  # images to train and to test on
DATA_SETS = {"CIFAR-100": "cifar-100-python", "STL-10": "stl10_binary", "Tiny ImageNet": "tiny-imagenet-200.zip"}


def doctor() -> Iterator[tuple[str, str]]:
    """Yield (what, finding), one after another: what is at hand at once, then what takes some seconds to measure.

    Raises:
        ValueError: a record that comes with the course is damaged.
        RuntimeError: the device cannot train, for want of memory for instance.
    """
    quick, full, device = profile("quick"), profile("full"), runtime.device()
    yield "versions", ", ".join(f"{name} {version}" for name, version in runtime.versions().items())
    yield "hardware", runtime.hardware()
    none = "" if torch.cuda.is_available() or runtime.has_apple_gpu() else ": PyTorch finds no GPU"
    yield "device", f"{device}{none} (another: DCD_DEVICE=NAME)"
    yield "data", str(files.data_dir())
    course, own = (list(folder.glob(f"*/{RECORD}")) for folder in (files.course_dir(), files.data_dir() / "runs"))
    yield "runs", f"{len(course)} come with the course, {len(own)} of your own"
    there = {name: (files.data_dir() / path).exists() for name, path in DATA_SETS.items()}
    yield "downloads", _at_hand(there)
    yield "optional", _at_hand({"timm": importlib.util.find_spec("timm"), "make": shutil.which("make")})

    rate = images_per_second(quick.student, 20, quick.recipe)
    yield quick.student, f"{rate:,.0f} images/s in training"
    if course:
        seconds = runtime.duration(retraining(list(map(read_record, course)), rate, quick.student))
        yield "--retrain", f"{seconds} for all {len(course)} runs that come with the course, one after another"
    for name, teacher, role in ((full.student, full.teacher, "as DCD+KD student"), (full.teacher, None, "as teacher")):
        rate = images_per_second(name, 100, full.recipe, teacher)
        took = f"{runtime.duration(full.recipe.epochs * worth(*CIFAR100) / rate)} for {name} {role}"
        yield "CIFAR-100", f"{took}, {full.recipe.epochs} epochs ({rate:,.0f} images/s)"
    assumed = "random images, as busy as now, a live teacher on CIFAR-100"
    yield "assumed", f"{assumed}; testing an image takes a third of training on it"


def images_per_second(network: str, classes: int, recipe: Recipe, teacher: str | None = None) -> float:
    """Return how many random images of 32x32 `train_epoch` passes in a second: batch by batch after the first, until
    SECONDS have passed.

    Args:
        recipe: its batch size and precision are followed.
        teacher: None: the network learns from labels alone; a name: by DCD+KD, while the teacher answers live.
    """
    device = runtime.device()
    images = speed.random_images(recipe.batch_size * (20 if device.type == "cuda" else 1), classes, device)
    job = speed.job_of(network, teacher, images, recipe)
    job = replace(job, recipe=recipe.but(precision=resolve_precision(recipe.precision, device, job.model)))
    optimizer, passed, start = make_optimizer(job), -1, 0.0
    with threads.fastest(device):
        while passed < 1 or speed.now(device) < start + SECONDS:
            train_epoch(job, optimizer, 0)
            passed, start = passed + 1, start or speed.now(device)
        return passed * len(images) / (speed.now(device) - start)


def worth(train: int, test: int) -> float:
    """Return how many images an epoch of training and testing is worth, in the time of training on one."""
    return train + test / 3


def retraining(records: Collection[dict], rate: float, student: str) -> float:
    """Return the seconds that the runs of these records would take where `student` trains alone on so many images per
    second: what they took where they were trained, by the rate of its own runs there."""
    took, alone = 0.0, []
    for record in records:
        speeds = [row["images_per_second"] for row in record["history"]]
        took += sum(worth(record["data"]["train"], record["data"]["test"]) / speed for speed in speeds)
        facts = record["config"]
        alone += speeds if (facts["network"]["name"], facts["method"]) == (student, "alone") else []
    return took * sum(alone) / max(1, len(alone)) / rate


def _at_hand(there: dict[str, object]) -> str:
    parts = {"there": [name for name in there if there[name]], "absent": [name for name in there if not there[name]]}
    return "; ".join(f"{word}: {', '.join(names)}" for word, names in parts.items() if names)
