"""Where the course keeps what it downloads and trains, and files that are whole or absent. Needs nothing but Python."""

import contextlib
import hashlib
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PARTIAL = ".partial"
_STALE = 3600  # seconds after which an unfinished file is nobody's
_PAUSES = (0.01, 0.03, 0.1, 0.3, 1.0) if os.name == "nt" else ()  # seconds between attempts, see `patiently`


def data_dir() -> Path:
    """Return the folder of downloads and runs: DCD_DATA of the environment, else the checkout's `data/`, else `./data`.

    A relative DCD_DATA is made absolute when it is first read, for child processes too: it names one folder for good.
    """
    if os.environ.get("DCD_DATA"):
        os.environ["DCD_DATA"] = str(Path(os.environ["DCD_DATA"]).expanduser().absolute())
        return Path(os.environ["DCD_DATA"])
    checkout = Path(__file__).resolve().parent.parent
    return (checkout if (checkout / "pyproject.toml").exists() else Path.cwd()) / "data"


def course_dir() -> Path:
    """Return the folder of the runs that come with the course, wherever the reader's own data lies."""
    return Path(__file__).resolve().parent.parent / "data" / "course"


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file so that it is whole or absent, whenever the process dies or the power fails; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_partials(path.parent, _STALE)
    partial = path.with_name(f".{path.name}.{os.getpid()}{_PARTIAL}")
    try:
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        patiently(os.replace, partial, path)
    finally:
        partial.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # a folder cannot be opened on Windows, nor synced on every disk
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def patiently(call: Callable, *arguments: Any) -> Any:
    """Return `call(*arguments)`, on Windows at the latest attempt of several: a file that another process is reading
    cannot be replaced there, nor one that is being replaced be read, and either is a PermissionError."""
    for pause in _PAUSES:
        with contextlib.suppress(PermissionError):
            return call(*arguments)
        time.sleep(pause)
    return call(*arguments)


def file_name(label: str) -> str:
    """Return a label with a dot for each character that the name of a file cannot have on some system."""
    return re.sub(r'[<>:"/\\|?*\x00-\x1f]', ".", label)


def print_anything() -> None:
    """Let a program print an escape for what its console cannot show, instead of ending in a UnicodeEncodeError: to a
    pipe or a file, Windows prints in the encoding of its language."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def remove_partials(folder: Path, older_than: float = 0.0) -> None:
    """Remove what killed processes left half written in a folder, if it is that many seconds old."""
    for partial in folder.glob(f".*{_PARTIAL}"):
        with contextlib.suppress(OSError):
            if time.time() - partial.stat().st_mtime >= older_than:
                partial.unlink()


def sha256(content: bytes | Path) -> str:
    """Return the SHA-256 of bytes, or of a file, in hexadecimal."""
    return hashlib.sha256(content.read_bytes() if isinstance(content, Path) else content).hexdigest()
