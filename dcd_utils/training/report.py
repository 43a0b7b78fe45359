"""What the logs of a grid say: tables of our runs, alone or beside the published figures."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dcd_utils import losses
from dcd_utils.training.published import published
from dcd_utils.training.recipe import PAPER, recipe_for
from dcd_utils.training.runs import read_log

if TYPE_CHECKING:
    import pandas as pd

_IMAGES = [50_000, 10_000]  # of CIFAR-100: training, test


def read_results(folder: str | os.PathLike) -> pd.DataFrame:
    """A row a log: dataset, teacher, student, method, seed, accuracy (last epoch, %), best_accuracy, hardware, and
    more.

    `departs` says in what a run's recipe and data are not the published ones; `attrs["not_applicable"]` holds
    {(teacher, student, method): reason} for methods that cannot work with a pair, and `attrs["failed"]` the same with
    a seed behind the method, for runs that stopped being finite.

    Raises:
        FileNotFoundError: the folder holds no logs.
        ValueError: one of its files is damaged, or no log.
    """
    import pandas as pd

    contents = [read_log(path) for path in sorted(Path(folder).glob("*.json"))]
    logs = [log for log in contents if "accuracy" in log]
    if not logs:
        raise FileNotFoundError(f'no logs (*.json) in "{folder}": run python -m dcd_utils reproduce first')
    trained = {_key(log) for log in logs}
    table = pd.DataFrame(map(_row, logs)).astype({"epochs": "Int64"})
    table.attrs["not_applicable"] = {
        (log["teacher"], log["student"], log["method"]): log["not_applicable"]
        for log in contents
        if "not_applicable" in log
    }
    table.attrs["failed"] = {
        _key(log): log["failed"] for log in contents if "failed" in log and _key(log) not in trained
    }
    return table


def _key(log: dict) -> tuple[str, str, str, int]:
    return log["teacher"], log["student"], log["method"], log["seed"]


def _row(log: dict) -> dict:
    keys = ("dataset", "teacher", "student", "method", "seed", "accuracy", "best_accuracy", "hardware")
    recipe = log["config"].get("recipe", {})  # none where a teacher's weights came from a file
    speeds = [row["images_per_second"] for row in log["history"]]
    return {key: log[key] for key in keys} | {
        "epochs": recipe.get("epochs"),
        "precision": recipe.get("precision"),
        "plain": log["config"].get("plain", False),
        "torch": log["versions"]["torch"],
        "images_per_second": sum(speeds) / len(speeds) if speeds else None,
        "departs": "; ".join(_departures(log)),
    }


def _departures(log: dict) -> list[str]:
    found = []
    if "".join(filter(str.isalnum, log["dataset"])).lower() != "cifar100":
        found.append(f"{log['dataset']} instead of CIFAR-100")
    elif "images" not in log:
        found.append("a number of images that the logs do not state")
    elif log["images"] != _IMAGES:
        found.append("{:,} training and {:,} test images instead of 50,000 and 10,000".format(*log["images"]))
    given = log["config"].get("recipe", {})
    expected = json.loads(json.dumps(asdict(recipe_for(PAPER, log["config"]["network"]))))
    differing = [key for key in expected if key != "precision" and given.get(key, expected[key]) != expected[key]]
    return found + [f"{key} {given[key]} instead of {expected[key]}" for key in differing]


def report(folder: str | os.PathLike) -> str:
    """The logs of a folder as a Markdown table: mean, spread (standard deviation, n - 1), seeds, and every figure."""
    table = read_results(folder)
    lines = []
    for (dataset, teacher, student), part in table.groupby(["dataset", "teacher", "student"]):
        failed = {key[2:]: reason for key, reason in table.attrs["failed"].items() if key[:2] == (teacher, student)}
        methods = {*part.method, *(method for method, _ in failed)}
        order = ["teacher", "alone", *sorted(methods - {"teacher", "alone"}, key=method_order)]
        alone = part[part.method == "alone"].accuracy.mean()
        lines += [
            f"{teacher} to {student} on {dataset}: {_settings(part)}, last epoch, top-1 % on the test images. "
            f"{_machines(part)}",
            "",
            "| | mean | spread | seeds | above student alone | each seed |",
            "|---|---|---|---|---|---|",
        ]
        for method in order:
            own = part[part.method == method].sort_values("seed")
            broken = [f"failed (seed {seed})" for name, seed in failed if name == method]
            if not len(own):
                lines.append(
                    f"| {_label(method, teacher, student)} | {'failed' if broken else 'not run'} | | 0 | | "
                    f"{', '.join(broken)} |"
                )
                continue
            spread = f"{own.accuracy.std():.2f}" if len(own) > 1 else "-"
            above = f"{own.accuracy.mean() - alone:+.2f}" if method != "alone" and alone == alone else ""
            each = ", ".join([*(f"{value:.2f}" for value in own.accuracy), *broken])
            lines.append(
                f"| {_label(method, teacher, student)} | {own.accuracy.mean():.2f} | {spread} | {len(own)} | "
                f"{above} | {each} |"
            )
        lines += ["", *_not_applicable(table, teacher, student)]
        for (method, seed), reason in failed.items():
            lines += [f"Failed: {_short(method)}, seed {seed}: {reason}.", ""]
    return "\n".join(lines)


def comparison(results: str | os.PathLike | pd.DataFrame) -> str:
    """Ours beside the published figures, in the paper's layout, as Markdown: rows are methods, three columns a pair.

    A method that was not published follows at the end. Above the tables stands what was trained, on which machines,
    and in what it is not the published experiment.

    Args:
        results: a folder of logs, or what `read_results` returned.

    Raises:
        FileNotFoundError: the folder holds no logs.
        ValueError: no figure was published for any of the pairs.
    """
    table = read_results(results) if isinstance(results, str | os.PathLike) else results
    known = published()
    ours = set(zip(table.teacher, table.student, strict=True))
    listed = list(dict.fromkeys(zip(known.teacher, known.student, strict=True)))
    pairs, others = [pair for pair in listed if pair in ours], sorted(ours - set(listed))
    if not pairs:
        raise ValueError(
            f"nothing was published for {_pairs(others)}: choose among {_pairs(listed)}, or print the table without "
            "published figures"
        )
    methods = list(dict.fromkeys(known.method))
    methods += sorted({*table.method} - {*methods}, key=method_order)
    expected = known.set_index(["teacher", "student", "method"]).accuracy.to_dict()
    part = table[[pair in pairs for pair in zip(table.teacher, table.student, strict=True)]]

    lines = [
        "Top-1 % on CIFAR-100's test images, last epoch. Ours: mean ± spread (seeds); the difference is ours minus "
        "published.",
        f"Ours: {_settings(part)}. {_machines(part)}",
        "Published: DCD and RRD in the authors' README, all else by RepDistiller.",
    ]
    if departs := sorted({reason for found in part.departs for reason in found.split("; ") if reason}):
        lines += ["", f"**Not the published experiment** ({'; '.join(departs)}): differences do not test the paper."]
    if others:
        lines += ["", f"Nothing was published for {_pairs(others)}."]
    differences = []
    for start in range(0, len(pairs), 4):  # more pairs than four side by side fit on no page
        block = pairs[start : start + 4]
        heads = [column for pair in block for column in (f"{_pairs([pair])}: ours", "published", "difference")]
        lines += ["", f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
        for method in methods:
            cells = []
            for pair in block:
                own = part[(part.teacher == pair[0]) & (part.student == pair[1]) & (part.method == method)].accuracy
                target = expected.get((*pair, method))
                absent = "n/a" if (*pair, method) in table.attrs.get("not_applicable", {}) else "not run"
                broken = sum(key[:3] == (*pair, method) for key in table.attrs.get("failed", {}))
                cells += [_mean(own) if len(own) else "failed" if broken else absent]
                cells[-1] += f", {broken} failed" if broken and len(own) else ""
                cells += ["-" if target is None else "n/a" if target != target else f"{target:.2f}"]
                compared = len(own) > 0 and target is not None and target == target
                cells += [f"{own.mean() - target:+.2f}" if compared else ""]
                if compared and method not in ("teacher", "alone"):
                    differences.append(own.mean() - target)
            lines.append(f"| {_short(method)} | {' | '.join(cells)} |")
    if differences:
        below = sum(difference < 0 for difference in differences)
        lines += [
            "",
            f"Of {len(differences)} distilled figures {len(differences) - below} reach the published one and {below} "
            f"lie below it; mean difference {sum(differences) / len(differences):+.2f}.",
        ]
    return "\n".join([*lines, ""])


def method_order(method: str) -> tuple:
    """Where a method stands in tables: teacher, student alone, then as in `losses.names`, each before what follows it
    with a plus."""
    places = {"teacher": -2, "alone": -1, **{name: place for place, name in enumerate(losses.names())}}
    name, _, settings = method.partition("@")
    return (*((places.get(part, len(places)), part) for part in name.split("+")), (-1, settings))


def _not_applicable(table: pd.DataFrame, teacher: str, student: str) -> list[str]:
    """A paragraph for each reason why methods cannot work with a pair."""
    reasons: dict[str, list[str]] = {}
    for (*pair, method), reason in table.attrs["not_applicable"].items():
        if pair == [teacher, student]:
            reasons.setdefault(reason, []).append(method)
    names = {reason: ", ".join(map(_short, sorted(found, key=method_order))) for reason, found in reasons.items()}
    return [line for reason, found in names.items() for line in (f"n/a: {found}: {reason}.", "")]


def _settings(part: pd.DataFrame) -> str:
    teacher, students = (part[(part.method == "teacher") == which] for which in (True, False))
    own, others = ({*rows.epochs.dropna()} for rows in (teacher, students))
    epochs = ", ".join(map(str, sorted(others or own)))
    if own and others and own != others:
        epochs += f" (teacher {', '.join(map(str, sorted(own)))})"
    if teacher.epochs.isna().any():
        epochs += " (teacher's weights from a file)"
    plain = ["the plain way"] if part.plain.any() else []
    unit = "epoch" if epochs == "1" else "epochs"
    return ", ".join([f"{epochs} {unit}", *sorted({*part.precision.dropna()}), *plain])


def _machines(part: pd.DataFrame) -> str:
    return f"Hardware: {'; '.join(sorted(set(part.hardware)))}. torch {', '.join(sorted(set(part.torch)))}."


def _label(method: str, teacher: str, student: str) -> str:
    return {"teacher": f"teacher ({teacher})", "alone": f"student alone ({student})"}.get(method, _short(method))


def _short(method: str) -> str:
    name, at, settings = method.partition("@")
    return {"teacher": "teacher", "alone": "student alone"}.get(method, name.upper() + at + settings)


def _mean(values: pd.Series) -> str:
    spread = f" ± {values.std():.2f}" if len(values) > 1 else ""
    return f"{values.mean():.2f}{spread} ({len(values)})"


def _pairs(pairs: list[tuple[str, str]]) -> str:
    return ", ".join(f"{teacher} to {student}" for teacher, student in pairs)
