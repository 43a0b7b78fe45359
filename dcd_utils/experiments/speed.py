"""How fast a pair trains on this machine: the plain way, ours with a live and a stored teacher, the student alone."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import torch
from torch.utils.data import DataLoader, Dataset

from dcd_utils import losses, models, runtime
from dcd_utils.data import ImageSet
from dcd_utils.data.views import NUM_VIEWS
from dcd_utils.experiments.tables import markdown
from dcd_utils.records import make_record
from dcd_utils.training import PAPER, FrozenTeacher, Job, NoTeacher, Recipe, StoredTeacher, batches, train_epoch
from dcd_utils.training.loop import make_optimizer
from dcd_utils.training.recipe import autocast, resolve_precision

WAYS = ("plain", "live", "cached", "student_alone")
METHOD = "dcd+kd"
CLASSES = 100
WORKERS = min(8, runtime.cores())  # of the plain way


def benchmark(
    teacher: str, student: str, batch_size: int = 64, steps: int | None = None, rounds: int = 3,
    precision: str = "auto", compile: bool = False,
) -> dict:
    """Time DCD+KD training steps of a pair four ways, in turn, on random images of 32x32 in 100 classes.

    plain: what public distillation code does: images decoded and augmented one by one in worker processes, 32-bit
    numbers, channels first, a live teacher, the loss read back at each step. live, cached: the package's own
    `train_epoch` (the table of the teacher's answers is warm; checking and fetching them is counted). student_alone:
    the same without a teacher and without a distillation loss.

    A measurement has so many steps (None: 30, on a GPU 300); the median of `rounds` counts. `precision` and `compile`
    are those of all ways but plain.

    Return a record with, by way, images_per_second, ms_per_step, peak_mb (`runtime.peak`) and spread (slowest and
    fastest round); components (ms per step); speedup over plain. An unknown network, an impossible batch size or number
    of steps is a ValueError, a device out of memory a RuntimeError.
    """
    device = runtime.device()
    steps = (300 if device.type == "cuda" else 30) if steps is None else steps
    if batch_size < 2 or min(steps, rounds) < 1:
        given = f"batch_size={batch_size}, steps={steps}, rounds={rounds} were given"
        raise ValueError(f"{given}: a batch holds at least 2 images, and at least one step and round must be timed")
    precision = resolve_precision(precision, device, models.create(student, CLASSES))
    images = random_images(max(steps + 2, 4) * batch_size, CLASSES, device)
    case = student, teacher, images, PAPER.but(batch_size=batch_size, precision=precision)
    timings, peaks = ({way: [] for way in WAYS} for _ in range(2))
    for way in WAYS * rounds:
        try:
            taken, peak = measure(way, *case, steps, compile)
        except torch.OutOfMemoryError as error:
            where = f"{device} ran out of memory in the {way} way with {batch_size} images per step"
            advice = f"a smaller --batch-size or a smaller pair, or free the device ({str(error).splitlines()[0]})"
            raise RuntimeError(f"{where}: choose {advice}") from error
        timings[way].append(taken), peaks[way].append(peak)
    seconds = {way: median(timings[way]) for way in WAYS}
    settings = {"teacher": teacher, "student": student, "method": METHOD, "batch_size": batch_size, "steps": steps}
    settings |= {"rounds": rounds, "precision": precision, "compile": compile, "workers": WORKERS}
    return make_record(
        {"kind": "benchmark", **settings}, {"name": "random images", "train": len(images), "test": 0}, **settings,
        images_per_second={way: round(batch_size / seconds[way], 1) for way in WAYS},
        ms_per_step={way: round(1000 * seconds[way], 2) for way in WAYS},
        spread={way: [round(batch_size / pick(timings[way]), 1) for pick in (max, min)] for way in WAYS},
        peak_mb={way: max(filter(None, peaks[way]), default=None) for way in WAYS},
        speedup={way: round(seconds["plain"] / seconds[way], 2) for way in ("live", "cached")},
        of_student_alone=round(seconds["student_alone"] / seconds["cached"], 3), components=_components(*case),
    )


def random_images(count: int, classes: int, device: torch.device) -> ImageSet:
    """Return images of 32x32, as many of each class as of any other."""
    pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=runtime.generator("speed"))
    names = tuple(map(str, range(classes)))
    return ImageSet(pixels, torch.arange(count) % classes, names, (0.5,) * 3, (0.25,) * 3).to(device)


def job_of(student: str, teacher: str | None, images: ImageSet, recipe: Recipe, plain: bool = False) -> Job:
    """Return the job of a fresh student: with METHOD of a fresh teacher that answers live, or (None) from labels."""
    ours = not plain and images.device.type in ("cuda", "cpu")
    layout = torch.channels_last if ours else torch.contiguous_format
    names = (student, teacher) if teacher else (student,)
    created = (models.create(name, images.num_classes, seed=0) for name in names)
    networks = [network.to(images.device, memory_format=layout).eval() for network in created]
    objective, guide = losses.Objective(), NoTeacher()
    if teacher:
        with torch.no_grad():
            examples = [network.features(images.batch(torch.arange(2, device=images.device))) for network in networks]
        objective, guide = losses.objective(METHOD, *examples).to(images.device), FrozenTeacher(networks[1])
    return Job(networks[0], objective, guide, images, None, recipe)


def now(device: torch.device) -> float:
    """Return the time in seconds at which the device has done what it was given."""
    torch.get_device_module(device).synchronize()
    return time.perf_counter()


def measure(
    way: str, student: str, teacher: str, images: ImageSet, recipe: Recipe, steps: int, compile: bool = False
) -> tuple[float, float | None]:
    """Return (seconds per step, `runtime.peak`)."""
    plain, device = way == "plain", images.device
    warm, timed = (images.subset(range(count * recipe.batch_size)) for count in (4, steps))
    if not plain and device.type == "cpu":
        runtime.reuse_freed_memory()
    job = job_of(student, None if way == "student_alone" else teacher, warm, recipe, plain)
    if compile and not plain:
        for network in filter(None, (job.model, getattr(job.teacher, "network", None))):
            network.features = compiled(network.features)
    if way == "cached":
        place = "device" if device.type == "cuda" else "memory"
        stored = StoredTeacher(job.teacher.network, images, recipe.precision, recipe.batch_size, place)
        job = replace(job, teacher=stored)
        for part in (timed, warm):
            for indices, views in batches(len(part), len(part), 0, 0):
                stored.prepare(indices, views)
    optimizer = make_optimizer(job)
    if plain:  # one weight after the other
        optimizer.param_groups[0].update(fused=False, foreach=False)
    runtime.reset_peak(device)  # and not later: what it gives back must be taken anew, which costs time
    if plain:
        return _plain(replace(job, train=images), optimizer, steps), runtime.peak(device)
    train_epoch(job, optimizer, 0)
    start = now(device)
    train_epoch(replace(job, train=timed), optimizer, 0)
    return (now(device) - start) / steps, runtime.peak(device)


def _plain(job: Job, optimizer: torch.optim.Optimizer, steps: int) -> float:
    """Seconds per step of public code's epoch after its first two batches."""
    device, settings = job.train.device, {"shuffle": True, "num_workers": WORKERS, "drop_last": True}
    loader = DataLoader(PlainImages(job.train), job.recipe.batch_size, **settings)
    job.model.train()
    for step, (images, labels) in enumerate(itertools.islice(loader, steps + 2)):
        if step == 2:
            start = now(device)
        images, labels = images.to(device), labels.to(device)
        target = job.teacher(images)
        output = job.model.features(images)
        loss, _ = job.objective(output, target, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        (output.logits.argmax(dim=1) == labels).sum().item()
        end = now(device)  # and not behind the loop, where the workers are sent home
    return (end - start) / steps


def _components(student: str, teacher: str, images: ImageSet, recipe: Recipe) -> dict[str, float]:
    """Milliseconds that a batch takes by itself, the median of ten: making it, and the live teacher's answer."""
    device, live, times = images.device, job_of(student, teacher, images, recipe).teacher, []
    indices, views = next(batches(len(images), recipe.batch_size, 0, 0, device))
    for _ in range(10):
        start = now(device)
        batch = images.batch(indices, views)
        made = now(device)
        with autocast(device, recipe.precision):
            live(batch)
        times.append((made - start, now(device) - made))
    data, teacher = (round(1000 * median(taken), 2) for taken in zip(*times, strict=True))
    return {"data": data, "teacher": teacher}


class PlainImages(Dataset):
    """Images one by one, as public code reads CIFAR: from an array, through Pillow and torchvision's transforms."""

    def __init__(self, images: ImageSet):
        from torchvision import transforms

        self.pixels, self.labels = images.images.permute(0, 2, 3, 1).cpu().numpy(), images.labels.tolist()
        steps = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
        self.transform = transforms.Compose([*steps, transforms.Normalize(images.mean, images.std)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int):
        from PIL import Image

        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def compiled(features: Callable) -> Callable:
    """Return a forward pass as torch.compile makes it, on a GPU with its launches recorded (CUDA graphs)."""
    step = torch.compile(features, mode="reduce-overhead")

    def run(images: torch.Tensor) -> models.Features:
        torch.compiler.cudagraph_mark_step_begin()
        maps, pooled, logits = step(images)  # which the next replay of any recording writes over
        return models.Features([stage_map.clone() for stage_map in maps], pooled.clone(), logits.clone())

    return run


def benchmarks(records: list[dict]) -> list[dict]:
    """Return the benchmarks among records, the quickest pair first."""
    found = [record for record in records if record["kind"] == "benchmark"]
    return sorted(found, key=lambda record: -record["images_per_second"]["plain"])


def speed_table(records: list[dict]) -> str:
    """Benchmarks of several pairs, the quickest first: images per second and, in brackets, times the plain way."""
    records = benchmarks(records)
    machines = dict.fromkeys(
        f"{record['hardware']}; torch {record['versions']['torch']}, {record['precision']}, batch "
        f"{record['batch_size']}, median of {record['rounds']} rounds"
        for record in records
    )
    rows = []
    for record in records:
        rates = record["images_per_second"]
        times = [f"{rates[way]:,.0f} ({record['speedup'][way]:.2f})" for way in ("live", "cached")]
        of_live = record["components"]["teacher"] / record["ms_per_step"]["live"]
        hours = [f"{training_hours(record, way, methods=3, seeds=3):.0f}" for way in WAYS[:3]]
        cells = [f"{record['teacher']} to {record['student']}", f"{rates['plain']:,.0f}", *times]
        cells += [f"{rates['student_alone']:,.0f}", f"{record['of_student_alone']:.0%}", f"{of_live:.0%}"]
        rows.append([*cells, " / ".join(hours)])
    heads = ["", "plain way", "live teacher", "stored teacher", "student alone", "stored, of alone"]
    heads += ["teacher, of a live step", "hours: plain / live / stored"]
    text = "Training steps of DCD+KD on random images (32x32, 100 classes), in images per second; in brackets, times "
    text += "the plain way. Hours: 3 methods, 3 seeds, 240 epochs of 50,000 images, filling the store included. "
    return f"{text}{'; '.join(machines)}.\n\n" + markdown(heads, rows)


def training_hours(record: dict, way: str, images=50_000, epochs=240, methods=1, seeds=1) -> float:
    """Return what a grid of students of one teacher costs in one of WAYS, from the rates of a benchmark's record.

    "cached" pays the teacher once for each distinct view of each image: of 162, an image shows 162 (1 - (1 - 1/162)^n)
    in n epochs on average; methods share them all, seeds most of them."""
    seconds = images * epochs * methods * seeds / record["images_per_second"][way]
    if way == "cached":
        distinct = NUM_VIEWS * (1 - (1 - 1 / NUM_VIEWS) ** (epochs * seeds))
        seconds += images * distinct * record["components"]["teacher"] / 1000 / record["batch_size"]
    return seconds / 3600
