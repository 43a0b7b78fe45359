"""Logs of linear probes, one a network: what features learned on one data set are worth on another."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from dcd_utils import runtime
from dcd_utils.training.published import published
from dcd_utils.training.report import method_order
from dcd_utils.training.runs import differences, read_log

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ("source", "target", "teacher", "student", "method", "seed", "accuracy", "train_accuracy", "C")
_COLUMNS += ("source_accuracy", "classes", "hardware")
_NAMES = {"random": "untrained student", "teacher": "teacher", "alone": "student alone"}


def find_probe(path: Path, config: dict) -> dict | None:
    """The log at `path`, or None where there is none.

    Raises:
        ValueError: it is the log of another config; the message names what differs.
    """
    if not path.exists():
        return None
    log = read_log(path)
    stored, given = log.get("config", {}), json.loads(json.dumps(config))
    if stored != given:
        raise ValueError(
            f'"{path}" is the log of another config ({differences(stored, given)}): choose another results folder'
        )
    return log


def write_probe(path: Path, log: dict) -> None:
    """Write a log, whole or not at all."""
    runtime.write_whole(path, json.dumps(log, indent=1) + "\n")


def holds_probes(folder: str | os.PathLike) -> bool:
    """Whether the logs in a folder are those of probes."""
    first = min(Path(folder).glob("*.json"), default=None)
    return first is not None and '"target"' in first.read_text(errors="replace")


def read_probes(folder: str | os.PathLike) -> pd.DataFrame:
    """A row a probe, in the course's order: source, target, teacher, student, method, seed, accuracy (on the target,
    top-1 %), train_accuracy, C, source_accuracy (of the network itself), classes, hardware, images, epochs and torch.

    The method of the untrained student is "random".

    Raises:
        FileNotFoundError: the folder holds no logs.
    """
    import pandas as pd

    logs = [read_log(path) for path in sorted(Path(folder).glob("*.json"))]
    logs = [log for log in logs if "target" in log]
    if not logs:
        raise FileNotFoundError(f'no logs of probes (*.json) in "{folder}": run python -m dcd_utils transfer first')
    logs.sort(key=lambda log: (log["method"] != "random", method_order(log["method"]), log["seed"]))
    rows = [{key: log[key] for key in _COLUMNS} for log in logs]
    for row, log in zip(rows, logs, strict=True):
        row["images"] = " training and ".join(f"{count:,}" for count in log["images"]) + " test images"
        row["epochs"] = log["config"]["run"].get("recipe", {}).get("epochs")  # none where nothing was trained
        row["torch"] = log["versions"]["torch"]
    return pd.DataFrame(rows).astype({"epochs": "Int64"})


def probe_report(folder: str | os.PathLike) -> str:
    """The probes of a folder as a Markdown table: mean, spread (standard deviation, n - 1), and n, the number of seeds.

    From CIFAR-100 to STL-10 or Tiny ImageNet the published figures stand beside ours.

    Raises:
        FileNotFoundError: the folder holds no logs.
    """
    table, lines = read_probes(folder), []
    for (source, target, teacher, student), part in table.groupby(["source", "target", "teacher", "student"]):
        expected = published_probes(source, target)
        alone = part[part.method == "alone"].accuracy.mean()
        trained = ", ".join(map(str, sorted({*part[part.method != "teacher"].epochs.dropna()})))
        lines += [
            f"{teacher} to {student}, {source} to {target}: linear classifier on frozen features, top-1 % on the test "
            f"images of {target} ({part.images.iloc[0]}); guessing gives {100 / part.classes.iloc[0]:.2f}. "
            f"Students: {trained or 'not trained, 0'} epochs on {source}. "
            f"Hardware: {'; '.join(sorted(set(part.hardware)))}. torch {', '.join(sorted(set(part.torch)))}.",
            "",
            "| | ours: mean | spread | n | above student alone | "
            + ("published | " if expected else "")
            + f"on {source} |",
            "|---" * (7 if expected else 6) + "|",
        ]
        for method in dict.fromkeys([*part.method, *expected]):
            own = part[part.method == method]
            name = _NAMES.get(method, method.upper())
            cells = ["not run", "", "0", "", ""]
            if len(own):
                spread = f"{own.accuracy.std():.2f}" if len(own) > 1 else "-"
                above = f"{own.accuracy.mean() - alone:+.2f}" if method != "alone" and alone == alone else ""
                known = own.source_accuracy.dropna()
                cells = [f"{own.accuracy.mean():.2f}", spread, str(len(own)), above, f"{known.mean():.2f}"]
                cells[-1] = cells[-1] if len(known) else ""
            if expected:
                cells.insert(4, f"{expected[method]:.2f}" if method in expected else "-")
            lines.append(f"| {name} | {' | '.join(cells)} |")
        if expected:
            lines += [
                "",
                "Published: wrn_40_2 to wrn_16_2, 240 epochs, classifier trained by SGD on augmented images. **Not our "
                "probe**: compare orders, not figures.",
            ]
        lines.append("")
    return "\n".join(lines)


def published_probes(source: str, target: str) -> dict[str, float]:
    """{method: published accuracy}; empty where nothing was published from that source to that target."""
    if "".join(filter(str.isalnum, source)).lower() != "cifar100" or target not in ("stl10", "tiny_imagenet"):
        return {}
    return published(target).set_index("method").accuracy.to_dict()
