"""Records made by hand, so that what tables say of them can be computed on paper."""

import json
from dataclasses import asdict
from pathlib import Path

from dcd_utils import training
from dcd_utils.records import make_record, write_record
from dcd_utils.training.config import run_name

SHORT = training.Recipe(epochs=2, batch_size=16, precision="fp32")
DATA = {"name": "tiny", "train": 40, "test": 20}


def record(network, accuracy=None, method="alone", seed=0, *, recipe=SHORT, data=None, state=None, **more):
    """Return the record of a run; `more` goes into the config, or (reason, final_weights) stands beside it."""
    teacher = more.pop("teacher", None)
    results = {key: more.pop(key) for key in ("reason", "final_weights") if key in more}
    config = {"kind": "train" if method == "alone" else "distill", "network": {"name": network}, "train": "a"}
    config |= {"test": "b", "recipe": json.loads(json.dumps(asdict(recipe))), "seed": seed, "method": method}
    config |= {"plain": False, "compile": False}
    if teacher:
        config |= {"teacher": dict(zip(("name", "weights"), teacher, strict=False)), "options": {}, "weights": {}}
    config |= more
    if accuracy is not None:
        row = {"test_accuracy": accuracy, "images_per_second": 100.0}
        results |= {"accuracy": accuracy, "best_accuracy": accuracy + 1, "history": [row]}
    state = state or "finished"
    return make_record(config, data or DATA, state, **results) | {"hardware": "a computer", "versions": {"torch": "9"}}


def keep(folder: Path, *records) -> Path:
    """Write records into a folder under names of their own; return the folder."""
    for entry in records:
        write_record(folder / f"{run_name(entry['config'])}.json", entry)
    return folder


def pair(teacher="resnet14", student="resnet8", shift=0.0, seeds=(0, 1), digest="t", **settings):
    """Return records of a small grid: the teacher 80, alone 50 and 52, KD 55 and 58, DCD 60 and 54 (plus `shift`)."""
    records = [record(teacher, 80 + shift, final_weights=digest, recipe=SHORT.but(epochs=3))]
    for method, values in {"alone": (50, 52), "kd": (55, 58), "dcd": (60, 54)}.items():
        for seed, value in zip(seeds, values, strict=True):
            parent = {"teacher": (teacher, digest)} if method != "alone" else {}
            records.append(record(student, value + shift, method, seed, **parent, **settings))
    return records
