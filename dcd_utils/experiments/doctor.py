"""What to expect here: what is at hand, how fast this machine trains, how long the course and CIFAR-100 would take."""

from __future__ import annotations

import importlib.util
import inspect
import shutil
import statistics
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

import torch

from dcd_utils import files, runtime
from dcd_utils.data import shapes
from dcd_utils.experiments import speed
from dcd_utils.experiments.profiles import profile
from dcd_utils.experiments.retraining import course_records
from dcd_utils.experiments.speed import now
from dcd_utils.training import Job, Recipe, train_epoch
from dcd_utils.training.loop import make_optimizer
from dcd_utils.training.recipe import resolve_precision
from dcd_utils.training.runs import RECORD

SECONDS, LONGER = 0.6, 2.5  # for a measurement of a quick network, and of a network of the full profile
FEW = 8  # images that a measurement begins with
DATA_SETS = {"CIFAR-100": "cifar-100-python", "STL-10": "stl10_binary", "Tiny ImageNet": "tiny-imagenet-200.zip"}


def doctor() -> Iterator[tuple[str, str]]:
    """Yield (what, finding): what is at hand at once, then what takes some seconds to measure. A damaged record of the
    course is a ValueError, a device that cannot train, for want of memory for instance, a RuntimeError."""
    quick, full, device = profile("quick"), profile("full"), runtime.device()
    yield "versions", ", ".join(f"{name} {version}" for name, version in runtime.versions().items())
    yield "hardware", runtime.hardware()
    none = "" if torch.cuda.is_available() or runtime.has_apple_gpu() else ": PyTorch finds no GPU"
    yield "device", f"{device}{none} (another: DCD_DEVICE=NAME)"
    yield "data", str(files.data_dir())
    course, own = course_records(), list((files.data_dir() / "runs").glob(f"*/{RECORD}"))
    yield "runs", f"{len(course)} come with the course, {len(own)} of your own"
    yield "downloads", _at_hand({name: (files.data_dir() / path).exists() for name, path in DATA_SETS.items()})
    yield "optional", _at_hand({"timm": importlib.util.find_spec("timm"), "make": shutil.which("make")})

    rates = {}
    for name in (quick.student, quick.teacher):
        measured = measure(name, 20, quick.recipe, SECONDS)
        rates[name] = max(measured.values())
        words = {number: f"{number} threads" for number in measured} | {1: "one thread"}
        by_threads = ", ".join(f"{rate:,.0f} with {words[number]}" for number, rate in measured.items())
        yield name, f"images/s in training: {by_threads}"
    seconds = retraining(course.values(), rates, quick.student)
    what = f"all {len(course)} runs that come with the course"
    if not course:
        what, seconds = "the quick profile's runs (none comes with the course)", quick_runs(rates)
    yield "--retrain", f"{runtime.duration(seconds)} for {what}, one after another"

    best = max(measured, key=measured.get)
    for name, teacher, role in ((full.student, full.teacher, "as DCD+KD student"), (full.teacher, None, "as teacher")):
        [rate] = measure(name, 100, full.recipe, LONGER, teacher, (best,)).values()
        took = runtime.duration(full.recipe.epochs * worth(50_000, 10_000) / rate)
        yield "CIFAR-100", f"{took} for {name} {role}, {full.recipe.epochs} epochs ({rate:,.0f} images/s)"
    assumed = "random images, as busy as now, the better number of threads, a live teacher on CIFAR-100"
    yield "assumed", f"{assumed}; testing an image takes a third of training on it"


def measure(
    network: str, classes: int, recipe: Recipe, seconds: float, teacher: str | None = None,
    threads: Iterable[int] | None = None,
) -> dict[int, float]:
    """Return images per second of `train_epoch` on random images of 32x32, by number of threads (None: one, and as many
    as PyTorch has), each measured for about so many seconds with the recipe's batch size and precision. The network
    learns from labels alone, or by DCD+KD while the teacher of that name answers live."""
    device, most, rates = runtime.device(), torch.get_num_threads(), {}
    if device.type == "cpu":
        runtime.reuse_freed_memory()
    images = speed.random_images(recipe.batch_size * (20 if device.type == "cuda" else 1), classes, device)
    job = speed.job_of(network, teacher, images, recipe)
    job = replace(job, recipe=recipe.but(precision=resolve_precision(recipe.precision, device, job.model)))
    try:
        for number in threads or sorted({1, most} if device.type == "cpu" else {most}):
            torch.set_num_threads(number)
            rates[number] = _images_per_second(job, seconds)
    finally:
        torch.set_num_threads(most)
    return rates


def _images_per_second(job: Job, seconds: float) -> float:
    """The median over the passes that fit into this time, after a warm-up. Passes over a few images go ahead: if all
    take too long, as many are passed as fit in twice; if not even the few fit (more threads than cores) they decide."""
    optimizer, device = make_optimizer(job), job.train.device

    def timed(count: int) -> float:
        part = replace(job, train=job.train.subset(range(count)))
        start = now(device)
        train_epoch(part, optimizer, 0)
        return now(device) - start

    took = timed(FEW)
    if took <= seconds or device.type != "cpu":  # a GPU may take seconds to wake
        took = timed(FEW)
    if took > seconds:
        return FEW / took
    count = min(max(FEW, int(FEW * seconds / 2 / took)), len(job.train))
    began, times = now(device), [timed(count), timed(count)]
    while now(device) - began + times[-1] < seconds:
        times.append(timed(count))
    return count / statistics.median(times[1:])


def worth(train: int, test: int) -> float:
    """Return how many images an epoch of training and testing is worth, in the time of training on one."""
    return train + test / 3


def retraining(records: Collection[dict], rates: dict[str, float], student: str) -> float:
    """Return the seconds that the runs of these records would take here: a run is slower than `rates` of its network
    (images per second alone; of `student`, if its own is absent) as its log is than logs of that network alone."""
    runs = [(record["config"]["network"]["name"], record["config"]["method"]) for record in records]
    paces = [statistics.median(row["images_per_second"] for row in record["history"]) for record in records]
    total = 0.0
    for record, (name, _), pace in zip(records, runs, paces, strict=True):
        like = name if name in rates else student
        alone = [other for run, other in zip(runs, paces, strict=True) if run == (like, "alone")] or [pace]
        images = len(record["history"]) * worth(record["data"]["train"], record["data"]["test"])
        total += images / (rates[like] * pace / statistics.median(alone))
    return total


def quick_runs(rates: dict[str, float]) -> float:
    """Return the seconds of the quick profile's teacher and of its students, four for each seed."""
    quick, sizes = profile("quick"), inspect.signature(shapes.load).parameters.values()
    epochs = {quick.teacher: quick.teacher_recipe.epochs, quick.student: 4 * len(quick.seeds) * quick.recipe.epochs}
    return worth(*(size.default for size in sizes)) * sum(epochs[name] / rates[name] for name in epochs)


def _at_hand(there: dict[str, object]) -> str:
    parts = {"there": [name for name in there if there[name]], "absent": [name for name in there if not there[name]]}
    return "; ".join(f"{word}: {', '.join(names)}" for word, names in parts.items() if names)
