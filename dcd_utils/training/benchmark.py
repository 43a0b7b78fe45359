"""How fast a pair trains on this machine: the plain way, ours with a live and a cached teacher, the student alone."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from dcd_utils import losses, models, runtime
from dcd_utils.data import ImageSet
from dcd_utils.data.views import NUM_VIEWS
from dcd_utils.training import graph
from dcd_utils.training.batches import batches, draw
from dcd_utils.training.cache import CachedTeacher
from dcd_utils.training.graph import RecordedStep
from dcd_utils.training.loop import (
    FrozenTeacher,
    autocast,
    make_optimizer,
    no_teacher,
    resolve_precision,
    train_epoch,
    train_step,
)
from dcd_utils.training.recipe import PAPER

MODES = ("plain", "live", "cached", "student_alone")
METHOD = "dcd+kd"
CLASSES = 100


def benchmark(
    teacher: str,
    student: str,
    batch_size: int = 64,
    steps: int | None = None,
    rounds: int = 3,
    precision: str = "auto",
    batch_sizes: tuple[int, ...] = (),
    device: torch.device | None = None,
) -> dict:
    """Time DCD+KD training steps of a pair four ways, in turn, on random images of 32x32 in 100 classes.

    plain: what public distillation code does: images decoded and augmented one by one in worker processes, 32-bit
    numbers, channels first, a live teacher, the loss read back at each step. live, cached: the package's own
    `train_epoch` (the cache is warm; checking and fetching its answers is counted). student_alone: the same without a
    teacher and without a distillation loss.

    Args:
        teacher, student: names of networks.
        batch_size: images a step.
        steps: in each measurement, None: 30, on a GPU 300; `rounds` measurements of each way, the median counts.
        precision: of all but plain.
        batch_sizes: others, for which live, cached and student_alone are timed too.

    Returns:
        a dict for JSON: machine, versions, settings; images_per_second, ms_per_step, peak_mb (of this process, its
        libraries included, or reserved on a GPU), spread (slowest and fastest round) by way; components (ms a step);
        floor (operations of a step over the machine's rate of matrix products); speedup over plain; by_batch_size.

    Raises:
        ValueError: an unknown network, or an impossible batch size or number of steps.
        RuntimeError: the device ran out of memory.
    """
    device = device or runtime.device()
    steps = (300 if device.type == "cuda" else 30) if steps is None else steps
    if min((batch_size, *batch_sizes)) < 2 or min(steps, rounds) < 1:
        raise ValueError(
            f"batch sizes {(batch_size, *batch_sizes)}, steps={steps}, rounds={rounds} were given: a batch holds at "
            "least 2 images, and at least one step and round must be timed"
        )
    precision = resolve_precision(precision, device, models.create(student, CLASSES))
    bench = _Bench(teacher, student, batch_size, steps, precision, device)
    rows: dict[str, list[tuple[float, float | None]]] = {mode: [] for mode in MODES}
    for _ in range(rounds):
        for mode in MODES:
            rows[mode].append(bench.measure(mode))
    seconds = {mode: statistics.median(row[0] for row in rows[mode]) for mode in MODES}
    peaks = {mode: [row[1] for row in rows[mode] if row[1] is not None] for mode in MODES}
    result = {
        "teacher": teacher,
        "student": student,
        "method": METHOD,
        "batch_size": batch_size,
        "steps": steps,
        "rounds": rounds,
        "precision": precision,
        "workers": bench.workers,
        **({"cuda_graph": bench.problems} if bench.recorded else {}),
        "hardware": runtime.hardware(),
        "versions": runtime.versions(),
        "images_per_second": {mode: round(batch_size / seconds[mode], 1) for mode in MODES},
        "ms_per_step": {mode: round(1000 * seconds[mode], 2) for mode in MODES},
        "spread": {mode: [round(batch_size / extreme, 1) for extreme in _extremes(rows[mode])] for mode in MODES},
        "peak_mb": {mode: max(found) if (found := peaks[mode]) else None for mode in MODES},
        "speedup": {mode: round(seconds["plain"] / seconds[mode], 2) for mode in ("live", "cached")},
        "of_student_alone": round(seconds["student_alone"] / seconds["cached"], 3),
        "components": bench.components(),
        "floor": bench.floor(seconds),
        "by_batch_size": {},
    }
    for size in sorted({*batch_sizes}):
        other = _Bench(teacher, student, size, max(2, steps * batch_size // size), precision, device)
        taken = [{mode: other.measure(mode)[0] for mode in MODES[1:]} for _ in range(rounds)]
        found = {mode: size / statistics.median(each[mode] for each in taken) for mode in MODES[1:]}
        result["by_batch_size"][str(size)] = {mode: round(value, 1) for mode, value in found.items()}
    return result


def _extremes(rows: list[tuple[float, float | None]]) -> tuple[float, float]:
    return max(row[0] for row in rows), min(row[0] for row in rows)


class _Bench:
    """One pair at one batch size, ready to be timed."""

    def __init__(self, teacher: str, student: str, batch_size: int, steps: int, precision: str, device: torch.device):
        self.batch_size, self.steps, self.device = batch_size, steps, device
        self.workers = min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
        self.recipe = PAPER.but(batch_size=batch_size, precision=precision)
        self.names = teacher, student
        generator = torch.Generator().manual_seed(0)
        self.recorded = graph.wanted(device)
        self.problems: dict[str, str | None] = {}  # by way, why its steps were not replayed
        first = 2 + self.recorded * (graph.WARM_UP + 8)  # a recorded step is checked often while it is young
        size = max(steps + 2, first) * batch_size
        self.images = ImageSet(
            torch.randint(0, 256, (size, 3, 32, 32), dtype=torch.uint8, generator=generator).to(device),
            torch.randint(0, CLASSES, (size,), generator=generator).to(device),
            tuple(map(str, range(CLASSES))),
            (0.5, 0.5, 0.5),
            (0.25, 0.25, 0.25),
        )
        self.warm, self.timed = (self.images.subset(range(count * batch_size)) for count in (first, steps))

    def measure(self, mode: str) -> tuple[float, float | None]:
        """(seconds a step, peak memory in MB or None where it cannot be told)."""
        try:
            return self._measure(mode)
        except torch.OutOfMemoryError as error:
            raise RuntimeError(
                f"{self.device} ran out of memory in the {mode} way with {self.batch_size} images a step: choose a "
                f"smaller --batch-size or a smaller pair, or free the device ({str(error).splitlines()[0]})"
            ) from error

    def _measure(self, mode: str) -> tuple[float, float | None]:
        plain = mode == "plain"
        if not plain and self.device.type == "cpu":
            runtime.reuse_freed_memory()
        teacher, student = (models.create(name, CLASSES, seed=0).to(self.device) for name in self.names)
        layout = torch.contiguous_format if plain else torch.channels_last
        teacher.to(memory_format=layout), student.to(memory_format=layout)
        with torch.no_grad():
            example = [network.eval().features(self.warm.batch(torch.arange(2))) for network in (student, teacher)]
        objective = losses.Objective() if mode == "student_alone" else losses.objective(METHOD, *example)
        objective.to(self.device)
        optimizer = make_optimizer(student, objective, self.recipe, self.device, plain)
        guide = {"student_alone": no_teacher}.get(mode) or FrozenTeacher(teacher, self.batch_size)
        if plain:
            return self._plain(student, teacher.eval(), objective, optimizer)
        if mode == "cached":
            place = "device" if self.device.type == "cuda" else "memory"
            guide = CachedTeacher(teacher, self.images, self.recipe.precision, self.batch_size, place)
            for images in (self.timed, self.warm):
                guide.prepare(*draw(len(images), 0, 0))
        step = RecordedStep(train_step) if self.recorded else train_step
        reset_peak(self.device)  # and not later: what it gives back must be taken anew, which costs time
        train_epoch(student, guide, objective, optimizer, self.warm, self.recipe, 0, 0, step)
        synchronize(self.device)
        start = time.perf_counter()
        if mode == "cached":
            guide.prepare(*draw(len(self.timed), 0, 0))
        train_epoch(student, guide, objective, optimizer, self.timed, self.recipe, 0, 0, step)
        synchronize(self.device)
        seconds = (time.perf_counter() - start) / self.steps
        if self.recorded:
            self.problems[mode] = step.problem
        return seconds, peak(self.device)

    def _plain(self, student, teacher, objective, optimizer) -> tuple[float, float | None]:
        """Public code's epoch, the first two batches untimed."""
        loader = DataLoader(
            PlainImages(self.images), self.batch_size, shuffle=True, num_workers=self.workers, drop_last=True
        )
        student.train()
        reset_peak(self.device)
        for step, (images, labels) in enumerate(loader):
            if step == 2:
                synchronize(self.device)
                start = time.perf_counter()
            images, labels = images.to(self.device), labels.to(self.device)
            with torch.no_grad():
                target = teacher.features(images)
            output = student.features(images)
            loss, _ = objective(output, target, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
            (output.logits.argmax(dim=1) == labels).sum().item()
        synchronize(self.device)
        return (time.perf_counter() - start) / self.steps, peak(self.device)

    def components(self) -> dict[str, float]:
        """Milliseconds a batch takes by itself: making it, the teacher's answer, either way."""
        teacher = models.create(self.names[0], CLASSES, seed=0).to(self.device).eval()
        indices, drawn = next(batches(len(self.images), self.batch_size, 0, 0, self.device))
        found = {"data": self._time(lambda: self.images.batch(indices, drawn))}
        batch = self.images.batch(indices, drawn).contiguous()
        plain = FrozenTeacher(teacher)
        found["teacher, plain"] = self._time(lambda: plain(batch))
        ours, batch = FrozenTeacher(teacher.to(memory_format=torch.channels_last)), self.images.batch(indices, drawn)

        def answer():
            with autocast(self.device, self.recipe.precision):
                ours(batch)

        found["teacher"] = self._time(answer)
        loader = DataLoader(PlainImages(self.images), self.batch_size, num_workers=self.workers, drop_last=True)
        stream = iter(loader)
        next(stream), next(stream)
        start = time.perf_counter()
        count = sum(1 for _ in stream)
        found["data, plain"] = 1000 * (time.perf_counter() - start) / max(1, count)
        return {name: round(value, 2) for name, value in found.items()}

    def _time(self, call: Callable[[], object], repeats: int = 10, pick: Callable = statistics.median) -> float:
        """Milliseconds of a call, picked from its repeats."""
        taken = []
        for _ in range(repeats):
            synchronize(self.device)
            start = time.perf_counter()
            call()
            synchronize(self.device)
            taken.append(time.perf_counter() - start)
        return 1000 * pick(taken)

    def floor(self, seconds: dict[str, float]) -> dict:
        """What a step costs at least: its multiply-accumulates, at the rate of a large matrix product in this type."""
        images = self.images.batch(torch.arange(2, device=self.device))
        teacher, student = (models.create(name, CLASSES, seed=0).to(self.device) for name in self.names)
        macs = {}
        for name, network in (("teacher", teacher.eval()), ("student", student.train())):
            with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(name == "student"):
                logits = network(images)
                if name == "student":
                    logits.sum().backward()
            macs[name] = counter.get_total_flops() / 2 / len(images) * self.batch_size
        dtype = torch.bfloat16 if self.recipe.precision == "bf16" else torch.float32
        side = 8192 if self.device.type == "cuda" else 2048
        left, right = (torch.randn(side, side, device=self.device).to(dtype) for _ in range(2))
        rate = side**3 / (self._time(lambda: left @ right, 50, min) / 1000)  # what the machine can do at best
        return {
            "matrix_product_gmacs_per_second": round(rate / 1e9, 1),
            "student_mmacs": round(macs["student"] / 1e6, 1),
            "teacher_mmacs": round(macs["teacher"] / 1e6, 1),
            "ms_live": round(1000 * sum(macs.values()) / rate, 2),
            "ms_cached": round(1000 * macs["student"] / rate, 2),
            "share_live": round(sum(macs.values()) / rate / seconds["live"], 3),
            "share_cached": round(macs["student"] / rate / seconds["cached"], 3),
        }


class PlainImages(Dataset):
    """Images one by one, as public code reads CIFAR: from an array, through Pillow and torchvision's transforms."""

    def __init__(self, images: ImageSet):
        from torchvision import transforms

        self.pixels = images.images.permute(0, 2, 3, 1).cpu().numpy()
        self.labels = images.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(images.mean, images.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int):
        from PIL import Image

        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def reset_peak(device: torch.device) -> None:
    """Give back what is free but held, and let `peak` start from what is in use."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # Linux: the resident peak starts anew


def peak(device: torch.device) -> float | None:
    """Most memory since `reset_peak`, in MB: reserved on a GPU (a recorded step keeps its own), else resident in this
    process (the plain way's workers come on top); None: unknown."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_reserved(device) / 1e6, 1)
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return None
    return round(int(found[1]) / 1000, 1) if found else None


def table(result: dict) -> str:
    """A benchmark's result as a Markdown table."""
    names = {
        "plain": "plain: image-by-image loading, fp32, live teacher",
        "live": f"ours, live teacher ({result['precision']})",
        "cached": f"ours, cached teacher ({result['precision']})",
        "student_alone": "the student alone, ours",
    }
    lines = [
        f"{result['teacher']} to {result['student']}, {METHOD.upper()}, batch {result['batch_size']}: "
        f"{result['hardware']}, torch {result['versions']['torch']}; median of {result['rounds']} rounds of "
        f"{result['steps']} steps.",
        "",
        "| | images/s | slowest to fastest round | ms a step | times plain | peak memory of this process, MB |",
        "|---|---|---|---|---|---|",
    ]
    for mode in MODES:
        rate, (low, high) = result["images_per_second"][mode], result["spread"][mode]
        peak_mb = result["peak_mb"][mode]
        lines.append(
            f"| {names[mode]} | {rate:,.0f} | {low:,.0f} to {high:,.0f} | {result['ms_per_step'][mode]:.1f} | "
            f"{rate / result['images_per_second']['plain']:.2f} | {'' if peak_mb is None else f'{peak_mb:,.0f}'} |"
        )
    parts, floor = result["components"], result["floor"]
    data, teacher = parts["data"] / result["ms_per_step"]["live"], teacher_share(result)
    lines += [
        "",
        f"Of a live step: {teacher:.0%} teacher, {data:.0%} images and views, {1 - teacher - data:.0%} student and "
        "losses.",
        "",
        f"By themselves, ms a batch: images {parts['data']} (plain {parts['data, plain']}), teacher {parts['teacher']} "
        f"(plain {parts['teacher, plain']}). Floor, multiply-accumulates of a step at "
        f"{floor['matrix_product_gmacs_per_second']:,.0f} G/s of a large matrix product: live {floor['ms_live']} ms "
        f"({floor['share_live']:.0%} of the time), cached {floor['ms_cached']} ms ({floor['share_cached']:.0%}). The "
        f"cached way runs at {result['of_student_alone']:.0%} of the student alone.",
    ]
    return "\n".join([*lines, ""])


def teacher_share(result: dict) -> float:
    """The teacher's part of a live step's time; of a recorded one, what the student alone leaves."""
    times = result["ms_per_step"]
    if "cuda_graph" in result:
        return 1 - times["student_alone"] / times["live"]
    return result["components"]["teacher"] / times["live"]


def holds_benchmarks(folder: str | os.PathLike) -> bool:
    """Whether a results folder's JSON files are those of `benchmark`."""
    first = min(Path(folder).glob("*.json"), default=None)
    return first is not None and '"by_batch_size"' in first.read_text(errors="replace")


def read_benchmarks(folder: str | os.PathLike) -> list[dict]:
    """The results in a folder, the quickest pair first."""
    found = [json.loads(path.read_text()) for path in Path(folder).glob("*.json")]
    return sorted(found, key=lambda result: -result["images_per_second"]["plain"])


def benchmark_report(folder: str | os.PathLike) -> str:
    """Several pairs in one Markdown table, with the machine named."""
    results = read_benchmarks(folder)
    machines = dict.fromkeys(
        f"{result['hardware']}; torch {result['versions']['torch']}, {result['precision']}, batch "
        f"{result['batch_size']}, median of {result['rounds']} rounds"
        for result in results
    )
    lines = [
        f"Training steps of {METHOD.upper()} in images per second; in brackets, times the plain way. "
        f"{'; '.join(machines)}.",
        "",
        "| | plain way | live teacher | cached teacher | student alone | cached, of alone | teacher, of a live step | "
        "arithmetic, of a live step |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        rates, times = result["images_per_second"], result["speedup"]
        lines.append(
            f"| {result['teacher']} to {result['student']} | {rates['plain']:,.0f} | {rates['live']:,.0f} "
            f"({times['live']:.2f}) | {rates['cached']:,.0f} ({times['cached']:.2f}) | {rates['student_alone']:,.0f} | "
            f"{result['of_student_alone']:.0%} | {teacher_share(result):.0%} | {result['floor']['share_live']:.0%} |"
        )
    return "\n".join([*lines, ""])


def hours(
    result: dict, way: str, images: int = 50_000, epochs: int = 240, methods: int = 1, seeds: int = 1, fill: bool = True
) -> float:
    """What a grid of students of one teacher costs, from the rates of a benchmark.

    Args:
        result: of `benchmark`.
        way: one of MODES. "cached" pays the teacher once for each distinct view of each image: of 162, an image shows
            162 (1 - (1 - 1/162)^n) in n epochs on average; methods share them all, seeds most of them.
        fill: whether the cache starts empty.
    """
    steps = images * epochs * methods * seeds / result["images_per_second"][way]
    if way == "cached" and fill:
        distinct = NUM_VIEWS * (1 - (1 - 1 / NUM_VIEWS) ** (epochs * seeds))
        steps += images * distinct * result["components"]["teacher"] / 1000 / result["batch_size"]
    return steps / 3600


def growth(result: dict, images: int = 50_000, epochs: int = 240, methods: int = 3, seeds: int = 3) -> dict[str, dict]:
    """How the cost of distilling a grid of students grows with each of its dimensions: panels for `plots.cost`.

    Args:
        result: of `benchmark`; its by_batch_size, if any, becomes a panel of its own (images per second).
        images, epochs, methods, seeds: where the other panels stand while one of them moves.
    """
    held = {"images": images, "epochs": epochs, "methods": methods, "seeds": seeds}
    panels = {}
    for name, at in held.items():
        last = max(2 * at, 10 if name in ("methods", "seeds") else at)
        x = [*range(1, last + 1)] if last <= 20 else [round(last * part / 24) for part in range(1, 25)]
        panels[name] = {
            way: (x, [hours(result, way, **{**held, name: value}) for value in x])
            for way in ("plain", "live", "cached")
        }
        panels[name]["at"] = at
    by_size = {int(size): rates for size, rates in result["by_batch_size"].items()}
    if by_size:
        by_size[result["batch_size"]] = result["images_per_second"]
        sizes = sorted(by_size)
        found = [by_size[size] for size in sizes]
        panels["batch size"] = {way: (sizes, [rates[way] for rates in found]) for way in MODES[1:]}
        panels["batch size"] |= {"label": "images per second", "at": result["batch_size"]}
    return panels
