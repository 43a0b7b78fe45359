"""A grid of runs (pairs x methods x seeds), one log a run, and the tables that the logs become."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dcd_utils import losses, models
from dcd_utils.data import ImageSet
from dcd_utils.training.api import distill, train
from dcd_utils.training.recipe import Recipe
from dcd_utils.training.runs import Run

if TYPE_CHECKING:
    import pandas as pd


def reproduce(
    pairs: Iterable[tuple[str, str]],
    methods: Iterable[str],
    seeds: Iterable[int],
    train_set: ImageSet,
    test_set: ImageSet,
    recipe: Recipe,
    results: str | os.PathLike,
    dataset: str,
    teacher_recipe: Recipe | None = None,
    teacher_seed: int = 0,
) -> Path:
    """Train every (pair, method, seed) that has no finished run yet, and write one JSON log for each.

    Killed and called again it goes on where it stopped: finished runs are loaded, a half-finished one is resumed.

    Args:
        pairs: (teacher, student) names of networks.
        methods: "alone", or what `distill` takes.
        seeds: of the students.
        results: the folder of the logs.
        dataset: the name that the logs carry.
        teacher_recipe: None: `recipe`, which then holds for teachers and students alike.
        teacher_seed: of the one teacher of a pair, which serves all its students.

    Raises:
        ValueError: an unknown network or method, or a results folder with a log of another config; nothing is then
            trained.
    """
    pairs, methods, seeds, results = list(pairs), list(methods), list(seeds), Path(results)
    for name in {name for pair in pairs for name in pair} - set(models.names()):
        models.create(name, 2)  # raises with the list of names
    for method in methods:
        if method != "alone":
            losses.parse(method)
    classes = train_set.num_classes
    for teacher_name, student_name in pairs:
        label = {"dataset": dataset, "teacher": teacher_name, "student": student_name}
        network = models.create(teacher_name, classes, seed=teacher_seed)
        teacher = train(network, train_set, test_set, teacher_recipe or recipe, teacher_seed)
        _log(teacher, {**label, "method": "teacher", "seed": teacher_seed}, results)
        for seed in seeds:
            for method in methods:
                student = models.create(student_name, classes, seed=seed)
                if method == "alone":
                    run = train(student, train_set, test_set, recipe, seed)
                else:
                    run = distill(student, teacher.model, train_set, test_set, method, recipe, seed)
                _log(run, {**label, "method": method, "seed": seed}, results)
    return results


def _log(run: Run, label: dict, results: Path) -> None:
    """Write a run's log; a log of the same config is left as it is, another one's is never overwritten."""
    path = results / "{teacher}-{student}-{method}-seed{seed}.json".format(**label)
    if path.exists():
        if json.loads(path.read_text())["config"] != run.config:
            raise ValueError(f'"{path}" is the log of another config: choose another results folder')
        return
    stored = json.loads((run.run_dir / "result.json").read_text())
    content = {**label, **{key: stored[key] for key in ("accuracy", "best_accuracy", "hardware", "versions")}}
    content |= {"config": run.config, "history": run.rows}
    results.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    # one epoch a line keeps a log both small and readable
    rows = ",\n  ".join(json.dumps(row) for row in content.pop("history"))
    partial.write_text(json.dumps(content, indent=1)[:-2] + f',\n "history": [\n  {rows}\n ]\n}}\n')
    os.replace(partial, path)


def read_results(folder: str | os.PathLike) -> pd.DataFrame:
    """A row a log: dataset, teacher, student, method, seed, accuracy (last epoch, %), best_accuracy, hardware, and
    more.

    Raises:
        FileNotFoundError: the folder holds no logs.
    """
    import pandas as pd

    paths = sorted(Path(folder).glob("*.json"))
    if not paths:
        raise FileNotFoundError(f'no logs (*.json) in "{folder}": run python -m dcd_utils reproduce first')
    logs = [json.loads(path.read_text()) for path in paths]
    keys = ("dataset", "teacher", "student", "method", "seed", "accuracy", "best_accuracy", "hardware")
    rows = [
        {key: log[key] for key in keys}
        | {
            "epochs": log["config"]["recipe"]["epochs"],
            "precision": log["config"]["recipe"]["precision"],
            "torch": log["versions"]["torch"],
            "images_per_second": sum(row["images_per_second"] for row in log["history"]) / len(log["history"]),
        }
        for log in logs
    ]
    return pd.DataFrame(rows)


def report(folder: str | os.PathLike) -> str:
    """The logs of a folder as a Markdown table: mean, spread (standard deviation, n - 1), seeds, and every figure."""
    table = read_results(folder)
    lines = []
    for (dataset, teacher, student), part in table.groupby(["dataset", "teacher", "student"]):
        order = ["teacher", "alone", *sorted(set(part.method) - {"teacher", "alone"}, key=method_order)]
        alone = part[part.method == "alone"].accuracy.mean()
        lines += [
            f"{teacher} to {student} on {dataset}: {_epochs(part)} epochs, {part.precision.iloc[0]}, last epoch, "
            f"top-1 % on the test images. "
            f"Hardware: {'; '.join(sorted(set(part.hardware)))}. torch {', '.join(sorted(set(part.torch)))}.",
            "",
            "| | mean | spread | seeds | above student alone | each seed |",
            "|---|---|---|---|---|---|",
        ]
        for method in order:
            own = part[part.method == method].sort_values("seed")
            if not len(own):
                lines.append(f"| {_label(method, teacher, student)} | not run | | 0 | | |")
                continue
            spread = f"{own.accuracy.std():.2f}" if len(own) > 1 else "-"
            above = f"{own.accuracy.mean() - alone:+.2f}" if method != "alone" else ""
            each = ", ".join(f"{value:.2f}" for value in own.accuracy)
            lines.append(
                f"| {_label(method, teacher, student)} | {own.accuracy.mean():.2f} | {spread} | {len(own)} | "
                f"{above} | {each} |"
            )
        lines.append("")
    return "\n".join(lines)


def _epochs(part: pd.DataFrame) -> str:
    teacher, students = ({*part[(part.method == "teacher") == which].epochs} for which in (True, False))
    together = ", ".join(map(str, sorted(teacher | students)))
    return together if len(teacher | students) < 2 else f"{max(students)} (teacher {max(teacher)})"


def _label(method: str, teacher: str, student: str) -> str:
    return {"teacher": f"teacher ({teacher})", "alone": f"student alone ({student})"}.get(method, method.upper())


def method_order(method: str) -> tuple:
    """Where a method stands in tables: the student alone, then as in `losses.names`, each before its "+kd"."""
    if method == "alone":
        return -1, 0
    known = losses.names()
    first, *rest = losses.parse(method)
    return known.index(first), len(rest)
