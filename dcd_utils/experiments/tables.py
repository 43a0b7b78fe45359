"""What the records of a folder say: one tidy table of all results, and differences of methods under the same seeds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from dcd_utils import losses
from dcd_utils.experiments.methods import method_label, method_order, title
from dcd_utils.records import read_record
from dcd_utils.training import PAPER, recipe_for
from dcd_utils.training.config import config_hash

if TYPE_CHECKING:
    import pandas as pd

_CIFAR100 = (50_000, 10_000)  # training and test images
_COLUMNS = ("kind", "state", "reason", "dataset", "teacher", "student", "method", "seed", "accuracy", "best_accuracy")
_COLUMNS += ("epochs", "batch_size", "precision", "hardware", "torch", "images_per_second", "departs", "group")


def read_records(*folders: str | os.PathLike) -> list[dict]:
    """Return every record in the folders and below them, in their order and by name; of one config only the first that
    is finished. A folder without any is a FileNotFoundError, a file that is damaged or no record a ValueError."""
    records = {}
    for folder in folders:
        paths = sorted(Path(folder).rglob("*.json"))
        if not paths:
            raise FileNotFoundError(f'no records (*.json) in "{folder}": run python -m dcd_utils reproduce first')
        for record in map(read_record, paths):
            key = config_hash(record["config"])
            if key not in records or records[key]["state"] != "finished":
                records[key] = record
    return [*records.values()]


def read_results(*folders: str | os.PathLike) -> pd.DataFrame:
    """Return one row per run, with columns kind, state, reason, dataset, teacher, student, method ("teacher", "alone",
    or as `distill` takes it, settings behind an @), seed, accuracy (last epoch, %), best_accuracy, epochs, batch_size,
    precision, hardware, torch, images_per_second, departs (in what it is not the published recipe) and group.

    Rows of one group can be compared: one teacher, data, recipe. A teacher's and a student's own runs appear once for
    every pair that they serve; teachers that served none stand in a group without a teacher, beside those of their kind
    that did. Probes have target, train_accuracy, C and source_accuracy besides; a benchmark has one row per way, whose
    name stands as its method. Errors are those of `read_records`.
    """
    return tidy(read_records(*folders)).drop(columns="record", errors="ignore")


def tidy(records: list[dict]) -> pd.DataFrame:
    """Return the table of `read_results` with one more column: the record that a row was made from."""
    import pandas as pd

    rows = [row for record in records if record["kind"] == "benchmark" for row in _benchmark_rows(record)]
    rows += _probe_rows(records)
    trained = [record for record in records if record["kind"] in ("train", "weights")]
    distilled = [record for record in records if record["kind"] == "distill"]
    groups, digests = {}, {}
    # a run that is not applicable does not know its teacher's weights: an earlier one of the pair does
    for record in sorted(distilled, key=lambda record: record["state"] == "not_applicable"):
        teacher = record["config"]["teacher"]
        digests[_pair(record)] = digest = teacher.get("weights", digests.get(_pair(record)))
        groups[key := (*_pair(record), digest)] = None
        rows.append(_row(record, teacher["name"], method_label(record["config"]), key))
    serving = set()
    for key in groups:
        teacher, student, setting, _, digest = key
        taught = [record for record in trained if digest and record.get("final_weights") == digest]
        alone = [record for record in trained if record["kind"] == "train" and _setting(record) == setting]
        rows += [_row(record, teacher, "teacher", key) | {"student": student} for record in taught]
        rows += [_row(record, teacher, "alone", key) for record in alone]
        serving |= {id(record) for record in taught + alone}
    apart = {_setting(record) for record in trained if id(record) not in serving}
    rows += [_row(record, None, "alone", (None, _setting(record))) for record in trained if _setting(record) in apart]
    table = pd.DataFrame(rows, columns=list(dict.fromkeys([*_COLUMNS, *(key for row in rows for key in row)])))
    table = table.astype(dict.fromkeys(("epochs", "batch_size", "seed"), "Int64"))
    table = table.assign(order=table.method.map(method_order))
    columns = ["dataset", "teacher", "student", "group", "order", "seed"]
    return table.sort_values(columns, kind="stable", ignore_index=True).drop(columns="order")


@dataclass(frozen=True)
class Paired:
    """A mean difference (points) over n seeds, its standard error, and the ends of its 95 % interval by Student's t
    with n - 1 degrees of freedom; one seed has neither error nor interval (None)."""

    n: int
    mean: float
    error: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, differences: Iterable[float]) -> Paired:
        """Return what differences under several seeds say; n = 0 and a mean that is not a number for none."""
        values = [float(value) for value in differences]
        if len(values) < 2:
            return cls(len(values), *(values or [float("nan")]))
        from scipy import stats

        mean, error = fmean(values), stdev(values) / len(values) ** 0.5
        reach = float(stats.t.ppf(0.975, len(values) - 1)) * error
        return cls(len(values), mean, error, mean - reach, mean + reach)

    @property
    def differs(self) -> bool:
        """Whether 0 lies outside of the interval."""
        return self.low is not None and not self.low <= 0 <= self.high

    @property
    def words(self) -> str:
        """The figures and what they show: "+2.31 ± 0.40 (n = 5): a difference"."""
        verdict = "a difference" if self.differs else "no difference shown" if self.n > 1 else "one seed shows nothing"
        return f"{self}: {verdict}" if self.n else str(self)

    def __str__(self) -> str:
        """The mean difference, ± its standard error, and the number of seeds."""
        if not self.n:
            return "not measured"
        return f"{self.mean:+.2f}" + (f" ± {self.error:.2f}" if self.n > 1 else "") + f" (n = {self.n})"


def paired(table: pd.DataFrame, method: str, against: str) -> Paired:
    """Return how much better (points) a method is than another, over the finished runs whose seed both have. `table`
    is a group of `read_results`, or has columns method, seed and accuracy. Runs of several groups, or two of a method
    under one seed, are a ValueError."""
    rows = table[table.method.isin((method, against)) & table.accuracy.notna()]
    if "group" in rows and rows.group.nunique() > 1:
        raise ValueError(f"the table holds runs of {rows.group.nunique()} groups, which cannot be compared: choose one")
    if rows.duplicated(["method", "seed"]).any():
        raise ValueError("the table holds several runs of one method under one seed: choose among them")
    ours, theirs = (rows[rows.method == name].set_index("seed").accuracy for name in (method, against))
    return Paired.of((ours - theirs).dropna())


def gains(table: pd.DataFrame, against: str = "alone") -> pd.DataFrame:
    """Return what each method of a group gains over another under the same seeds, in the order of tables.

    Columns: method, title, reads (what its own loss compares: "logits", "pooled" or "maps"; "" for none), beside ("KD"
    behind a plus, else ""), and those of `paired`, whose errors it has. Methods without a common seed are left out.
    """
    import pandas as pd

    rows = []
    for method in sorted({*table.method} - {"teacher", "alone", against}, key=method_order):
        if (difference := paired(table, method, against)).n:
            first, _, beside = method.partition("@")[0].partition("+")
            reads = losses.METHODS[first].reads if first in losses.METHODS else ""
            names = {"method": method, "title": title(method), "reads": reads, "beside": beside and title(beside)}
            rows.append(names | asdict(difference))
    return pd.DataFrame(rows, columns=["method", "title", "reads", "beside", "n", "mean", "error", "low", "high"])


def _pair(record: dict) -> tuple[str, str, str, str]:
    teacher = record["config"]["teacher"]
    kind_of_teacher = {key: teacher[key] for key in ("options", "version", "code") if teacher.get(key)}
    return teacher["name"], record["config"]["network"]["name"], _setting(record), json.dumps(kind_of_teacher)


def _setting(record: dict) -> str:
    """What must be equal for runs to be compared: the images, the network but for its weights, and how was trained."""
    config = record["config"]
    network = {key: value for key, value in config["network"].items() if key != "weights"}
    settings = [config[key] for key in ("train", "test", "recipe", "plain", "compile")]
    return json.dumps([network, *settings], sort_keys=True)


def _row(record: dict, teacher: str | None, method: str, group: tuple) -> dict:
    config, data, history = record["config"], record["data"], record.get("history", [])
    speeds = [row["images_per_second"] for row in history]
    row = {key: record.get(key) for key in ("kind", "state", "reason", "hardware")} | {"record": record}
    row |= {"dataset": data["name"], "teacher": teacher, "student": config["network"]["name"], "method": method}
    row |= {key: record.get(key, float("nan")) for key in ("accuracy", "best_accuracy")}
    row |= {"seed": config["seed"]} | {key: config["recipe"].get(key) for key in ("epochs", "batch_size")}
    row |= {"precision": config["recipe"]["precision"], "torch": record["versions"]["torch"]}
    row["images_per_second"] = sum(speeds) / len(speeds) if speeds else None
    return row | {"departs": "; ".join(_departures(config, data)), "group": json.dumps(group)}


def _probe_rows(records: list[dict]) -> list[dict]:
    """One row per probe, in a group for each recipe and teacher of the students; networks that serve several groups (a
    teacher, students alone or untrained) stand in each."""
    keys = ("kind", "state", "teacher", "student", "method", "seed", "accuracy", "train_accuracy", "C", "hardware")
    rows, groups = [], {}
    for record in (record for record in records if record["kind"] == "probe"):
        run, data, method = record["config"]["run"], record["data"], record["method"]
        row = {key: record[key] for key in (*keys, "source_accuracy")} | {"record": record, "dataset": data["name"]}
        row |= {"target": data["target"], "classes": data["classes"], "torch": record["versions"]["torch"]}
        row |= {"epochs": run.get("recipe", {}).get("epochs")}
        row["images"] = f"{data['train']:,} training and {data['test']:,} test images"
        transfer = (data["name"], data["target"], record["teacher"], record["student"])
        setting = _setting({"config": run}) if method not in ("teacher", "random") else None
        teacher = run.get("teacher", {}).get("weights", record.get("final_weights") if method == "teacher" else None)
        rows.append((row, transfer, setting, teacher))
    for _, transfer, setting, teacher in sorted(rows, key=lambda row: row[3] is None):  # students of a teacher first
        places = groups.setdefault(transfer, {})
        if setting and (teacher or setting not in {place[0] for place in places}):
            places[setting, teacher] = None
    return [
        row | {"group": json.dumps([*transfer, *place])}
        for row, transfer, setting, teacher in rows
        for place in groups[transfer] or [(None, None)]
        if setting in (None, place[0]) and (None in (teacher, place[1]) or teacher == place[1])
    ]


def _benchmark_rows(record: dict) -> list[dict]:
    row = {key: record[key] for key in ("kind", "state", "teacher", "student", "hardware", "precision")}
    row |= {"torch": record["versions"]["torch"], "dataset": "random images", "record": record}
    row["group"] = json.dumps([record["teacher"], record["student"], record["hardware"]])
    return [row | {"method": way, "images_per_second": rate} for way, rate in record["images_per_second"].items()]


def _departures(config: dict, data: dict) -> list[str]:
    departures = []
    if "".join(filter(str.isalnum, data["name"])).lower() != "cifar100":
        departures.append(f"{data['name']} instead of CIFAR-100")
    elif (data["train"], data["test"]) != _CIFAR100:
        departures.append(f"{data['train']:,} training and {data['test']:,} test images instead of 50,000 and 10,000")
    recipe = config["recipe"]
    expected = json.loads(json.dumps(asdict(recipe_for(PAPER, config["network"]["name"]))))
    differing = [key for key in expected if key != "precision" and recipe.get(key, expected[key]) != expected[key]]
    return departures + [f"{key} {recipe[key]} instead of {expected[key]}" for key in differing]


def markdown(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    heads = list(heads)
    head, *lines = (f"| {' | '.join(row)} |\n" for row in (heads, *rows))
    return "".join([head, "|---" * len(heads) + "|\n", *lines])
