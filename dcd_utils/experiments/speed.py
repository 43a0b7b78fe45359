"""How fast a pair trains on this machine: the plain way, ours with a live and a stored teacher, the student alone."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from dcd_utils import losses, models, runtime
from dcd_utils.data import ImageSet
from dcd_utils.data.views import NUM_VIEWS
from dcd_utils.experiments.tables import markdown
from dcd_utils.records import make_record
from dcd_utils.training import PAPER, FrozenTeacher, Job, NoTeacher, StoredTeacher, batches, train_epoch
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

    Args:
        steps: in each measurement, None: 30, on a GPU 300; `rounds` measurements of each way, the median counts.
        precision: of all but plain.

    Returns:
        a record with, by way, images_per_second, ms_per_step, peak_mb (`runtime.peak`) and spread (slowest and fastest
        round); components (ms per step); floor (of a step: its operations over the machine's rate of matrix products);
        speedup over plain.

    Raises:
        ValueError: an unknown network, or an impossible batch size or number of steps.
        RuntimeError: the device ran out of memory.
    """
    device = runtime.device()
    steps = (300 if device.type == "cuda" else 30) if steps is None else steps
    if batch_size < 2 or min(steps, rounds) < 1:
        given = f"batch_size={batch_size}, steps={steps}, rounds={rounds} were given"
        raise ValueError(f"{given}: a batch holds at least 2 images, and at least one step and round must be timed")
    precision = resolve_precision(precision, device, models.create(student, CLASSES))
    bench = _Bench(teacher, student, batch_size, steps, precision, device)
    measured = [{way: bench.measure(way) for way in WAYS} for _ in range(rounds)]
    timings, peaks = ({way: [figures[way][i] for figures in measured] for way in WAYS} for i in range(2))
    seconds = {way: statistics.median(timings[way]) for way in WAYS}
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
        floor=bench.floor(seconds),
    )


class _Bench:
    """One pair at one batch size, ready to be timed."""

    def __init__(self, teacher: str, student: str, batch_size: int, steps: int, precision: str, device):
        self.batch_size, self.steps, self.device = batch_size, steps, device
        self.workers = min(8, runtime.cores())
        self.recipe = PAPER.but(batch_size=batch_size, precision=precision)
        self.names = teacher, student
        generator, size = torch.Generator().manual_seed(0), max(steps + 2, 4) * batch_size
        pixels = torch.randint(0, 256, (size, 3, 32, 32), dtype=torch.uint8, generator=generator)
        labels, names = torch.randint(0, CLASSES, (size,), generator=generator), tuple(map(str, range(CLASSES)))
        self.images = ImageSet(pixels, labels, names, (0.5,) * 3, (0.25,) * 3).to(device)
        self.warm, self.timed = (self.images.subset(range(count * batch_size)) for count in (4, steps))

    def measure(self, way: str) -> tuple[float, float | None]:
        """Return (seconds per step, `runtime.peak`)."""
        try:
            return self._measure(way)
        except torch.OutOfMemoryError as error:
            where = f"{self.device} ran out of memory in the {way} way with {self.batch_size} images per step"
            advice = f"a smaller --batch-size or a smaller pair, or free the device ({str(error).splitlines()[0]})"
            raise RuntimeError(f"{where}: choose {advice}") from error

    def _measure(self, way: str) -> tuple[float, float | None]:
        plain = way == "plain"
        if not plain and self.device.type == "cpu":
            runtime.reuse_freed_memory()
        layout = torch.contiguous_format if plain else torch.channels_last
        networks = [models.create(name, CLASSES, seed=0).to(self.device, memory_format=layout) for name in self.names]
        teacher, student = (network.eval() for network in networks)
        with torch.no_grad():
            examples = [network.features(self.warm.batch(torch.arange(2))) for network in (student, teacher)]
        objective = losses.Objective() if way == "student_alone" else losses.objective(METHOD, *examples)
        guide = NoTeacher() if way == "student_alone" else FrozenTeacher(teacher, self.batch_size)
        if way == "cached":
            place = "device" if self.device.type == "cuda" else "memory"
            guide = StoredTeacher(teacher, self.images, self.recipe.precision, self.batch_size, place)
            for images in (self.timed, self.warm):
                for indices, views in batches(len(images), len(images), 0, 0):
                    guide.prepare(indices, views)
        job = Job(student, objective.to(self.device), guide, self.warm, None, self.recipe)
        optimizer = make_optimizer(job)
        if plain:  # one weight after the other
            optimizer.param_groups[0].update(fused=False, foreach=False)
        runtime.reset_peak(self.device)  # and not later: what it gives back must be taken anew, which costs time
        if plain:
            return self._plain(job, optimizer, teacher)
        train_epoch(job, optimizer, 0)
        start = self._now()
        train_epoch(replace(job, train=self.timed), optimizer, 0)
        return (self._now() - start) / self.steps, runtime.peak(self.device)

    def _plain(self, job: Job, optimizer: torch.optim.Optimizer, teacher) -> tuple[float, float | None]:
        """Time public code's epoch after its first two batches."""
        settings = {"shuffle": True, "num_workers": self.workers, "drop_last": True}
        loader = DataLoader(PlainImages(self.images), self.batch_size, **settings)
        job.model.train()
        for step, (images, labels) in enumerate(itertools.islice(loader, self.steps + 2)):
            if step == 2:
                start = self._now()
            images, labels = images.to(self.device), labels.to(self.device)
            with torch.no_grad():
                target = teacher.features(images)
            output = job.model.features(images)
            loss, _ = job.objective(output, target, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
            (output.logits.argmax(dim=1) == labels).sum().item()
            end = self._now()  # and not behind the loop, where the workers are sent home
        return (end - start) / self.steps, runtime.peak(self.device)

    def _now(self) -> float:
        """Return the time in seconds at which the device has done what it was given."""
        torch.get_device_module(self.device).synchronize()
        return time.perf_counter()

    def components(self) -> dict[str, float]:
        """Milliseconds that a batch takes by itself: making it, and the live teacher's answer."""
        network = models.create(self.names[0], CLASSES, seed=0).to(self.device, memory_format=torch.channels_last)
        indices, views = next(iter(batches(len(self.images), self.batch_size, 0, 0, self.device)))
        teacher, images = FrozenTeacher(network), self.images.batch(indices, views)

        def answer():
            with autocast(self.device, self.recipe.precision):
                teacher(images)

        times = {"data": self._time(lambda: self.images.batch(indices, views)), "teacher": self._time(answer)}
        return {name: round(milliseconds, 2) for name, milliseconds in times.items()}

    def _time(self, call: Callable[[], object], repeats: int = 10, pick: Callable = statistics.median) -> float:
        times = []
        for _ in range(repeats):
            start = self._now()
            call()
            times.append(self._now() - start)
        return 1000 * pick(times)

    def floor(self, seconds: dict[str, float]) -> dict:
        """What a step costs at least: its multiply-accumulates, at the rate of a large matrix product in this type."""
        images, macs = self.images.batch(torch.arange(2, device=self.device)), []
        for name, learns in zip(self.names, (False, True), strict=True):
            network = models.create(name, CLASSES, seed=0).to(self.device).train(learns)
            with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(learns):
                logits = network(images)
                if learns:
                    logits.sum().backward()
            macs.append(counter.get_total_flops() / 2 / len(images) * self.batch_size)
        teacher, student = macs
        dtype = torch.bfloat16 if self.recipe.precision == "bf16" else torch.float32
        # on a slow core a product takes a third of a second
        side, repeats = (8192, 50) if self.device.type == "cuda" else (2048, 5)
        left, right = (torch.randn(side, side, device=self.device).to(dtype) for _ in range(2))
        rate = side**3 / (self._time(lambda: left @ right, repeats, min) / 1000)  # what the machine can do at best
        return {
            "matrix_product_gmacs_per_second": round(rate / 1e9, 1),
            "student_mmacs": round(student / 1e6, 1), "teacher_mmacs": round(teacher / 1e6, 1),
            "ms_live": round(1000 * (teacher + student) / rate, 2), "ms_cached": round(1000 * student / rate, 2),
            "share_live": round((teacher + student) / rate / seconds["live"], 3),
            "share_cached": round(student / rate / seconds["cached"], 3),
        }


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
        rates, pair = record["images_per_second"], f"{record['teacher']} to {record['student']}"
        times = [f"{rates[way]:,.0f} ({record['speedup'][way]:.2f})" for way in ("live", "cached")]
        of_live = (record["components"]["teacher"] / record["ms_per_step"]["live"], record["floor"]["share_live"])
        percent = [f"{share:.0%}" for share in (record["of_student_alone"], *of_live)]
        hours = [f"{training_hours(record, way, methods=3, seeds=3):.0f}" for way in WAYS[:3]]
        plain, alone = (f"{rates[way]:,.0f}" for way in ("plain", "student_alone"))
        rows.append([pair, plain, *times, alone, *percent, " / ".join(hours)])
    heads = ["", "plain way", "live teacher", "stored teacher", "student alone", "stored, of alone"]
    heads += ["teacher, of a live step", "arithmetic, of a live step", "hours: plain / live / stored"]
    text = "Training steps of DCD+KD on random images (32x32, 100 classes), in images per second; in brackets, times "
    text += "the plain way. Hours: 3 methods, 3 seeds, 240 epochs of 50,000 images, filling the store included. "
    text += f"{'; '.join(machines)}.\n\n"
    return text + markdown(heads, rows)


def training_hours(
    record: dict, way: str, images: int = 50_000, epochs: int = 240, methods: int = 1, seeds: int = 1
) -> float:
    """Return what a grid of students of one teacher costs in one of WAYS, from the rates of a benchmark's record.

    "cached" pays the teacher once for each distinct view of each image: of 162, an image shows 162 (1 - (1 - 1/162)^n)
    in n epochs on average; methods share them all, seeds most of them.
    """
    seconds = images * epochs * methods * seeds / record["images_per_second"][way]
    if way == "cached":
        distinct = NUM_VIEWS * (1 - (1 - 1 / NUM_VIEWS) ** (epochs * seeds))
        seconds += images * distinct * record["components"]["teacher"] / 1000 / record["batch_size"]
    return seconds / 3600
