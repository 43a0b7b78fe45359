"""What the records of a folder say: one tidy table of all results."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dcd_utils.experiments.methods import method_label, method_order
from dcd_utils.records import read_record
from dcd_utils.training import PAPER, recipe_for

if TYPE_CHECKING:
    import pandas as pd

_CIFAR100 = (50_000, 10_000)  # training and test images
_COLUMNS = ("kind", "state", "reason", "dataset", "teacher", "student", "method", "seed", "accuracy", "best_accuracy")
_COLUMNS += ("epochs", "precision", "plain", "hardware", "torch", "images_per_second", "departs", "group")


def read_records(folder: str | os.PathLike) -> list[dict]:
    """Return every record in a folder and below it, by name.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a file is damaged, or no record.
    """
    records = [read_record(path) for path in sorted(Path(folder).rglob("*.json"))]
    if not records:
        raise FileNotFoundError(f'no records (*.json) in "{folder}": run python -m dcd_utils reproduce first')
    return records


def read_results(folder: str | os.PathLike) -> pd.DataFrame:
    """Return one row per run, with columns kind, state, reason, dataset, teacher, student, method ("teacher", "alone",
    or as `distill` takes it, settings behind an @), seed, accuracy (last epoch, %), best_accuracy, epochs, precision,
    plain, hardware, torch, images_per_second, departs (in what it is not the published recipe) and group.

    Rows of one group can be compared: one teacher, data, recipe. A teacher's and a student's own runs appear once for
    every pair that they serve. Probes have target, train_accuracy, C and source_accuracy besides; a benchmark has one
    row per way, whose name stands as its method. Errors are those of `read_records`.
    """
    import pandas as pd

    records = read_records(folder)
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
        own = [record for record in trained if digest and record.get("final_weights") == digest]
        kin = {_setting(record) for record in own if record["kind"] == "train"}  # teachers of other seeds
        for place, record in enumerate(trained):
            if record in own or (_setting(record) in kin and teacher != student):
                rows.append(_row(record, teacher, "teacher", key) | {"student": student})
                serving.add(place)
            if _setting(record) == setting and record["kind"] == "train":
                rows.append(_row(record, teacher, "alone", key))
                serving.add(place)
    lonely = [record for place, record in enumerate(trained) if place not in serving]
    rows += [_row(record, None, "alone", (None, _setting(record))) for record in lonely]
    table = pd.DataFrame(rows, columns=list(dict.fromkeys([*_COLUMNS, *(key for row in rows for key in row)])))
    table = table.astype({"epochs": "Int64", "seed": "Int64"}).assign(order=table.method.map(method_order))
    columns = ["dataset", "teacher", "student", "group", "order", "seed"]
    return table.sort_values(columns, na_position="first", kind="stable", ignore_index=True).drop(columns="order")


def _pair(record: dict) -> tuple[str, str, str, str]:
    teacher = record["config"]["teacher"]
    kind_of_teacher = {key: teacher[key] for key in ("options", "version", "code") if teacher.get(key)}
    return teacher["name"], record["config"]["network"]["name"], _setting(record), json.dumps(kind_of_teacher)


def _setting(record: dict) -> str:
    """What must be equal for runs to be compared: the images, the network but for its weights, and how was trained."""
    config = record["config"]
    network = {key: value for key, value in config["network"].items() if key != "weights"}
    keys = ("train", "test", "recipe", "plain", "compile")
    return json.dumps([network, *(config[key] for key in keys)], sort_keys=True)


def _row(record: dict, teacher: str | None, method: str, group: tuple) -> dict:
    config, data, history = record["config"], record["data"], record.get("history", [])
    speeds = [row["images_per_second"] for row in history]
    row = {key: record.get(key) for key in ("kind", "state", "reason", "hardware")}
    row |= {"dataset": data["name"], "teacher": teacher, "student": config["network"]["name"], "method": method}
    row |= {key: record.get(key, float("nan")) for key in ("accuracy", "best_accuracy")}
    row |= {"seed": config["seed"], "epochs": config["recipe"].get("epochs"), "plain": config["plain"]}
    row |= {"precision": config["recipe"]["precision"], "torch": record["versions"]["torch"]}
    row["images_per_second"] = sum(speeds) / len(speeds) if speeds else None
    return row | {"departs": "; ".join(_departures(config, data)), "group": json.dumps(group)}


def _probe_rows(records: list[dict]) -> list[dict]:
    """One row per probe, in a group for each recipe and teacher of the students; networks that serve several groups (a
    teacher, students alone or untrained) stand in each."""
    keys = ("kind", "state", "teacher", "student", "method", "seed", "accuracy", "train_accuracy", "C", "hardware")
    rows, groups = [], {}
    for record in records:
        if record["kind"] == "probe":
            run, data = record["config"]["run"], record["data"]
            row = {key: record[key] for key in (*keys, "source_accuracy")}
            row |= {"dataset": data["name"], "target": data["target"], "classes": data["classes"]}
            row |= {"epochs": run.get("recipe", {}).get("epochs"), "torch": record["versions"]["torch"]}
            row["images"] = f"{data['train']:,} training and {data['test']:,} test images"
            transfer = (data["name"], data["target"], record["teacher"], record["student"])
            setting = _setting({"config": run}) if record["method"] not in ("teacher", "random") else None
            teacher = record.get("final_weights") if record["method"] == "teacher" else None
            teacher = run.get("teacher", {}).get("weights", teacher)
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
    keys = ("kind", "state", "teacher", "student", "hardware", "precision")
    row = {key: record[key] for key in keys} | {"torch": record["versions"]["torch"], "dataset": "random images"}
    group = json.dumps([record["teacher"], record["student"], record["hardware"]])
    rates = record["images_per_second"].items()
    return [row | {"method": way, "images_per_second": rate, "group": group} for way, rate in rates]


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
