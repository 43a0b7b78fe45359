"""The runs that come with the course, trained anew and compared with what was committed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from dcd_utils import data, files, models
from dcd_utils.data import ImageSet
from dcd_utils.records import read_record
from dcd_utils.training import api
from dcd_utils.training.recipe import Recipe
from dcd_utils.training.runs import RECORD, WEIGHTS, Run

if TYPE_CHECKING:
    import pandas as pd


def course_records() -> dict[str, dict]:
    """Return {folder's name: record} of the runs that come with the course, teachers first."""
    records = {path.parent.name: read_record(path) for path in sorted(files.course_dir().glob(f"*/{RECORD}"))}
    return dict(sorted(records.items(), key=lambda entry: entry[1]["kind"] != "train"))


def train_anew(record: dict, train: ImageSet, test: ImageSet, run_dir: Path) -> Run:
    """Train the run that a record of the course describes; a student has the course's own teacher."""
    config = record["config"]
    network = models.create(config["network"]["name"], train.num_classes, seed=config["seed"])
    recipe, seed, choices = Recipe(**config["recipe"]), config["seed"], {"run_dir": run_dir, "retrain": True}
    if record["kind"] == "train":
        return api.train(network, train, test, recipe, seed, **choices)
    teacher = models.create(config["teacher"]["name"], train.num_classes)
    digest = config["teacher"]["weights"]
    (name,) = (name for name, other in course_records().items() if other["final_weights"] == digest)
    models.load_weights(teacher, files.course_dir() / name / WEIGHTS)
    teacher.classes = train.classes
    choices |= {"options": config["options"], "weights": config["weights"]}
    return api.distill(network, teacher, train, test, config["method"], recipe, seed, **choices)


def retrain(names: list[str] | None = None) -> pd.DataFrame:
    """Train runs of the course anew, and return how each differs from what was committed: one row per run.

    Columns: machine and date of the committed run, accuracy (%) then and now, the largest difference of the training
    loss in any epoch, and whether the weights are equal to the last bit. `names` are folders of data/course, None: all;
    one that is not there, or none at all, is a ValueError."""
    import pandas as pd

    records, rows = course_records(), {}
    if not records:
        raise ValueError(f'no run comes with the course: "{files.course_dir()}" holds none')
    if unknown := [name for name in names or [] if name not in records]:
        raise ValueError(f"{', '.join(unknown)} is no run of the course: choose among {', '.join(records)}")
    train, test = data.load("shapes")
    for name in names or records:
        record = records[name]
        with tempfile.TemporaryDirectory() as folder:
            run = train_anew(record, train, test, Path(folder) / name)
        pairs = zip(record["history"], run.rows, strict=True)
        rows[name] = {
            "hardware": record["hardware"], "date": record["date"], "committed": record["accuracy"],
            "anew": run.accuracy, "difference": run.accuracy - record["accuracy"],
            "largest difference of the loss": max(abs(old["train_loss"] - new["train_loss"]) for old, new in pairs),
            "same weights": run.record["final_weights"] == record["final_weights"],
        }
        print(f"{name}: {rows[name]}", flush=True)
    return pd.DataFrame.from_dict(rows, orient="index")
