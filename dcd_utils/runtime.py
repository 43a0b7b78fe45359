"""The device, random numbers that anyone can repeat, and what this machine is."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import random
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from dcd_utils.files import data_dir, write_whole  # noqa: F401, part of this module to its users

_REPORTED = ("torch", "torchvision", "numpy", "scikit-learn", "umap-learn", "matplotlib", "seaborn", "jupyterlab")


def device(name: str | None = None) -> torch.device:
    """The device to compute on: `name` if given, else CUDA, else Apple's MPS, else the CPU.

    Raises:
        ValueError: the named device is not available on this machine.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    chosen = torch.device(name)
    missing = (chosen.type == "cuda" and not torch.cuda.is_available()) or (
        chosen.type == "mps" and not torch.backends.mps.is_available()
    )
    if missing:
        raise ValueError(
            f'device "{name}" was asked for, but PyTorch finds no such device here: leave it out or pass "cpu"'
        )
    return chosen


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's global generators. Training itself never reads them: see `generator`."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def generator(*key: object) -> torch.Generator:
    """A CPU generator that depends on nothing but `key`, for instance ("batches", seed, epoch).

    Randomness that is a function of its name needs no state in checkpoints, and two runs with equal keys see equal
    draws.
    """
    state = hashlib.sha256("/".join(map(str, key)).encode()).digest()[:8]
    return torch.Generator().manual_seed(int.from_bytes(state, "little") % 2**63)


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of the tensors: equal digests mean equal weights or images."""
    total = hashlib.sha256()
    for name, tensor in tensors.items():
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def versions() -> dict[str, str]:
    """Installed versions of the libraries that shape a result; "not installed" where one is missing."""
    found = {"python": platform.python_version()}
    for name in _REPORTED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def hardware() -> str:
    """One line that names the processor, its usable cores and the accelerator, as logs of results carry it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    line = f"{_processor()}, {cores} cores, {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        line += f", {torch.cuda.get_device_name()}"
    elif torch.backends.mps.is_available():
        line += ", Apple GPU (mps)"
    return line


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                features = " with AVX-512 BF16" if bf16_pays(torch.device("cpu")) else ""
                return line.split(":", 1)[1].strip() + features
    except OSError:
        pass
    return platform.processor() or platform.machine()


def bf16_pays(on: torch.device) -> bool:
    """Whether bfloat16 arithmetic is native on this device, so that autocast saves time instead of costing it."""
    if on.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if on.type == "cpu":
        has = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        if has:
            return bool(has.get("avx512_bf16") or has.get("amx_bf16") or has.get("amx"))
        try:
            return "avx512_bf16" in Path("/proc/cpuinfo").read_text()
        except OSError:
            return False
    return False


def reuse_freed_memory() -> bool:
    """Let this process keep the memory that tensors free, instead of asking the system for it anew at each step.

    On a CPU every large tensor is otherwise mapped, cleared page by page, and unmapped again: a tenth of the time of a
    small network's step. Where the C library is not GNU's nothing changes. Returns whether it was set.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # Windows, macOS
        library = ctypes.CDLL(None)
        if hasattr(library, "gnu_get_libc_version"):
            trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
            return bool(library.mallopt(mmap_threshold, 1 << 30) and library.mallopt(trim_threshold, (1 << 31) - 1))
    return False


def free_memory() -> int | None:
    """Bytes of memory that this process can still take: of the machine, and of its container; None: unknown."""
    found = []
    with contextlib.suppress(OSError, TypeError):  # not Linux
        found.append(int(re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())[1]) * 1024)
    with contextlib.suppress(OSError, ValueError):  # "max": no limit
        limit, used = (int(Path("/sys/fs/cgroup", name).read_text()) for name in ("memory.max", "memory.current"))
        found.append(max(0, limit - used))
    if not found:
        with contextlib.suppress(OSError, AttributeError, ValueError):
            found.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(found, default=None)


def inference_batch(on: torch.device) -> int:
    """How many images to pass at once without gradients: 64 on a CPU, whose caches hold as much, else 500."""
    return 64 if on.type == "cpu" else 500


def environment_report() -> str:
    """What runs here, line by line: versions, hardware, the chosen device and where data is kept."""
    rows = [*versions().items(), ("hardware", hardware()), ("device", str(device())), ("data", str(data_dir()))]
    return "\n".join(f"{name:>13}: {value}" for name, value in rows)
