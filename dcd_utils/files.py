"""Floor 0: where the course keeps what it downloads and trains. Needs nothing but Python."""

from __future__ import annotations

import os
from pathlib import Path


def data_dir() -> Path:
    """Where downloads and runs live: the environment variable DCD_DATA, else the checkout's `data/`, else `./data`."""
    if os.environ.get("DCD_DATA"):
        return Path(os.environ["DCD_DATA"]).expanduser()
    checkout = Path(__file__).resolve().parent.parent
    return (checkout if (checkout / "pyproject.toml").exists() else Path.cwd()) / "data"


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file so that it is whole or absent, whenever the process dies; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
