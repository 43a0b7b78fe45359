"""How fast a pair trains on this machine: the plain way, ours with a live and a stored teacher, the student alone."""

from __future__ import annotations

import gc
import itertools
import time
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


def benchmark(
    teacher: str, student: str, batch_size: int = 64, steps: int | None = None, rounds: int = 3,
    precision: str = "auto",
) -> dict:
    """Time DCD+KD training steps of a pair four ways, in turn, on random images of 32x32 in 100 classes.

    plain: what public distillation code does: images decoded and augmented one by one in worker processes, 32-bit
    numbers, channels first, a live teacher, the loss read back at each step. live, cached: the package's own
    `train_epoch` (the table of the teacher's answers is warm; checking and fetching them is counted). student_alone:
    the same without a teacher and without a distillation loss.

    A measurement has so many steps (None: 30, on a GPU 300); the median of `rounds` counts. `precision` is that of
    all ways but plain.

    Return a record with, by way, images_per_second, ms_per_step, peak_mb (memory reserved on a GPU, else None) and
    spread (slowest and fastest round); components (ms per step); speedup over plain. An unknown network, an impossible
    batch size or number of steps is a ValueError, a device out of memory a RuntimeError.
    """
    device = runtime.device()
    steps = (300 if device.type == "cuda" else 30) if steps is None else steps
    if batch_size < 2 or min(steps, rounds) < 1:
        given = f"batch_size={batch_size}, steps={steps}, rounds={rounds} were given"
        raise ValueError(f"{given}: a batch holds at least 2 images, and at least one step and round must be timed")
    precision = resolve_precision(precision, device, models.create(student, CLASSES))
    bench = _Bench(teacher, student, batch_size, steps, precision, device)
    timings, peaks = ({way: [] for way in WAYS} for _ in range(2))
    for way in WAYS * rounds:
        try:
            taken, peak = bench.measure(way)
        except torch.OutOfMemoryError as error:
            where = f"{device} ran out of memory in the {way} way with {batch_size} images per step"
            advice = f"a smaller --batch-size or a smaller pair, or free the device ({str(error).splitlines()[0]})"
            raise RuntimeError(f"{where}: choose {advice}") from error
        timings[way].append(taken), peaks[way].append(peak)
    seconds = {way: median(timings[way]) for way in WAYS}
    settings = {"teacher": teacher, "student": student, "method": METHOD, "batch_size": batch_size, "steps": steps}
    settings |= {"rounds": rounds, "precision": precision, "workers": bench.workers}
    return make_record(
        {"kind": "benchmark", **settings}, {"name": "random images", "train": len(bench.images), "test": 0}, **settings,
        images_per_second={way: round(batch_size / seconds[way], 1) for way in WAYS},
        ms_per_step={way: round(1000 * seconds[way], 2) for way in WAYS},
        spread={way: [round(batch_size / pick(timings[way]), 1) for pick in (max, min)] for way in WAYS},
        peak_mb={way: max(filter(None, peaks[way]), default=None) for way in WAYS},
        speedup={way: round(seconds["plain"] / seconds[way], 2) for way in ("live", "cached")},
        of_student_alone=round(seconds["student_alone"] / seconds["cached"], 3), components=bench.components(),
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


class _Bench:
    """One pair at one batch size, ready to be timed."""

    def __init__(self, teacher: str, student: str, batch_size: int, steps: int, precision: str, device):
        self.pair, self.steps, self.device = (student, teacher), steps, device
        self.workers = min(8, runtime.cores())
        self.recipe = PAPER.but(batch_size=batch_size, precision=precision)
        self.images = random_images(max(steps + 2, 4) * batch_size, CLASSES, device)
        self.warm, self.timed = (self.images.subset(range(count * batch_size)) for count in (4, steps))

    def measure(self, way: str) -> tuple[float, float | None]:
        """Return (seconds per step, MB of a GPU's memory)."""
        plain, (student, teacher) = way == "plain", self.pair
        if not plain and self.device.type == "cpu":
            runtime.reuse_freed_memory()
        job = job_of(student, None if way == "student_alone" else teacher, self.warm, self.recipe, plain)
        if way == "cached":
            place = "device" if self.device.type == "cuda" else "memory"
            answers = self.images, self.recipe.precision, self.recipe.batch_size, place
            job = replace(job, teacher=StoredTeacher(job.teacher.network, *answers))
            for images in (self.timed, self.warm):
                for indices, views in batches(len(images), len(images), 0, 0):
                    job.teacher.prepare(indices, views)
        optimizer = make_optimizer(job)
        if plain:  # one weight after the other
            optimizer.param_groups[0].update(fused=False, foreach=False)
        if on_gpu := self.device.type == "cuda":  # not later: what is given back must be taken anew, which costs time
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        seconds = self._plain(job, optimizer) if plain else self._ours(job, optimizer)
        return seconds, round(torch.cuda.max_memory_reserved(self.device) / 1e6, 1) if on_gpu else None

    def _ours(self, job: Job, optimizer: torch.optim.Optimizer) -> float:
        train_epoch(job, optimizer, 0)
        start = now(self.device)
        train_epoch(replace(job, train=self.timed), optimizer, 0)
        return (now(self.device) - start) / self.steps

    def _plain(self, job: Job, optimizer: torch.optim.Optimizer) -> float:
        """Seconds per step of public code's epoch after its first two batches."""
        settings = {"shuffle": True, "num_workers": self.workers, "drop_last": True}
        loader = DataLoader(PlainImages(self.images), self.recipe.batch_size, **settings)
        job.model.train()
        for step, (images, labels) in enumerate(itertools.islice(loader, self.steps + 2)):
            if step == 2:
                start = now(self.device)
            images, labels = images.to(self.device), labels.to(self.device)
            target = job.teacher(images)
            output = job.model.features(images)
            loss, _ = job.objective(output, target, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
            (output.logits.argmax(dim=1) == labels).sum().item()
            end = now(self.device)  # and not behind the loop, where the workers are sent home
        return (end - start) / self.steps

    def components(self) -> dict[str, float]:
        """Milliseconds that the live teacher's answer to a batch takes by itself, the median of ten."""
        teacher, times = job_of(*self.pair, self.images, self.recipe).teacher, []
        images = self.images.batch(*next(iter(batches(len(self.images), self.recipe.batch_size, 0, 0, self.device))))
        for _ in range(11):
            times.append(now(self.device))
            with autocast(self.device, self.recipe.precision):
                teacher(images)
        return {"teacher": round(1000 * median(end - start for start, end in itertools.pairwise(times)), 2)}


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
