"""Records: what a run did, as JSON with a checksum of itself. Tables and pictures are made of these files alone."""

import datetime
import json
from pathlib import Path
from typing import Any

from dcd_utils import files, runtime


def make_record(config: dict, data: dict, state: str = "finished", **results: Any) -> dict[str, Any]:
    """Return a record: the config with its "kind" (train, distill, weights, probe, benchmark), a state (running,
    finished, failed, not_applicable), what the data is called and how much there is of it (name, train, test), what
    computed, when, and results such as accuracy (%), the reason of a failure, or a history (a list of rows)."""
    return {
        "kind": config["kind"], "state": state, "data": data, "config": config,
        "hardware": runtime.hardware(), "versions": runtime.versions(), "date": datetime.date.today().isoformat(),
        **results,
    }


def write_record(path: Path, record: dict) -> None:
    """Write a record as JSON with a checksum of itself, one epoch per line."""
    content = {key: value for key, value in record.items() if key != "history"}
    rows = ",\n  ".join(json.dumps(row) for row in record.get("history", []))
    text = json.dumps(content | {"sha256": _checksum(record)}, indent=1)[:-2]
    files.write_whole(path, text + (f',\n "history": [\n  {rows}\n ]' if "history" in record else "") + "\n}\n")


def read_record(path: Path) -> dict[str, Any]:
    """Read a record, without its checksum; ValueError if the file is damaged, or is something else."""
    try:
        record = json.loads(files.patiently(path.read_bytes))
        if not isinstance(record, dict) or not {"kind", "state", "config", "sha256"} <= set(record):
            raise ValueError(f'"{path}" is no record of a run, and does not belong there')
        if record.pop("sha256") != _checksum(record):
            raise json.JSONDecodeError("its content does not match its checksum", "", 0)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f'"{path}" is damaged ({str(error).partition(":")[0]})') from error
    return record


def _checksum(record: dict) -> str:
    return files.sha256(json.dumps(record, sort_keys=True).encode())
