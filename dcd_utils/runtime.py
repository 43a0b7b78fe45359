"""The device, random numbers that anyone can repeat, and what this machine is."""

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import random
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from dcd_utils import distributed
from dcd_utils.files import data_dir

_REPORTED = ("torch", "torchvision", "numpy", "scikit-learn", "umap-learn", "matplotlib", "seaborn", "jupyterlab")


def device(name: str | None = None) -> torch.device:
    """Return the device to compute on: `name`, or DCD_DEVICE of the environment, else CUDA (a GPU for each process of
    torchrun's), Apple's MPS or the CPU; one that this machine does not have is a ValueError."""
    name = name or os.environ.get("DCD_DEVICE")
    available = {"cuda": torch.cuda.is_available(), "mps": has_apple_gpu(), "cpu": True}
    chosen = torch.device(name or next(kind for kind, present in available.items() if present))
    if not available.get(chosen.type, True):
        raise ValueError(f'device "{name}" was asked for, but PyTorch finds none here: leave it out or pass "cpu"')
    if str(chosen) == "cuda" and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return chosen


@functools.cache
def has_apple_gpu() -> bool:
    """Return whether Apple's GPU can be used: in a virtual machine it says that it is there, but has no memory."""
    with contextlib.suppress(RuntimeError):
        return torch.backends.mps.is_available() and bool(torch.ones(1, device="mps").item())
    return False


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's global generators. Training itself never reads them: see `generator`."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def generator(*key: object) -> torch.Generator:
    """Return a CPU generator that depends on nothing but `key`: equal keys see equal draws, and no state is kept."""
    state = hashlib.sha256("/".join(map(str, key)).encode()).digest()[:8]
    return torch.Generator().manual_seed(int.from_bytes(state, "little") % 2**63)


@contextlib.contextmanager
def seeded(*key: object):
    """Within this context PyTorch draws what `key` decides; outside nothing is changed. What fills tensors from a
    normal or a uniform distribution comes from NumPy, whose bits, unlike PyTorch's, are the same on every processor."""
    seed = generator(*key).initial_seed()
    rng = np.random.Generator(np.random.PCG64(seed))

    def normal_(tensor, mean=0.0, std=1.0, *, generator=None):
        return tensor.copy_(torch.as_tensor(mean + std * rng.standard_normal(tensor.shape)))

    def uniform_(tensor, low=0.0, high=1.0, *, generator=None):
        return tensor.copy_(torch.as_tensor(low + (high - low) * rng.random(tensor.shape)))

    patched = mock.patch.multiple(torch.Tensor, normal_=normal_, uniform_=uniform_)
    with torch.random.fork_rng(devices=[]), patched:
        torch.manual_seed(seed)
        yield


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 over names, types, shapes and bytes of tensors: equal digests mean equal weights or images."""
    total = hashlib.sha256()
    for name, tensor in tensors.items():
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def versions() -> dict[str, str]:
    """Return the installed versions of the libraries that shape a result; "not installed" where one is missing."""
    installed = {"python": platform.python_version(), **dict.fromkeys(_REPORTED, "not installed")}
    for name in _REPORTED:
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return installed


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def hardware() -> str:
    """Return one line that names the processor, its usable cores and the accelerator, as records carry it."""
    name = re.search(r"model name\s*: (.*)", _read("/proc/cpuinfo"))
    processor = name[1].strip() if name else platform.processor() or platform.machine()
    if name and bf16_pays(torch.device("cpu")):
        processor += " with AVX-512 BF16"
    line = f"{processor}, {cores()} cores, {torch.get_num_threads()} threads"
    line += f", {distributed.world()} processes" * (distributed.world() > 1)
    if torch.cuda.is_available():
        return f"{line}, {torch.cuda.get_device_name()}"
    return f"{line}, Apple GPU (mps)" if has_apple_gpu() else line


def _read(path: str) -> str:
    with contextlib.suppress(OSError):  # a system without such files
        return Path(path).read_text(encoding="utf-8")
    return ""


def bf16_pays(on: torch.device) -> bool:
    """Return whether bfloat16 arithmetic is native on this device, so that autocast saves time and does not cost it."""
    if on.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if on.type != "cpu":
        return False
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    native = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "amx"))
    return native if capabilities else "avx512_bf16" in _read("/proc/cpuinfo")


def reuse_freed_memory() -> bool:
    """Let this process keep the memory that tensors free, instead of asking the system for it anew, cleared page by
    page: on a CPU a tenth of a small network's step. Return whether it was set: only GNU's C library can."""
    with contextlib.suppress(OSError, TypeError):  # Windows: the program itself is no library there
        library = ctypes.CDLL(None)
        if hasattr(library, "gnu_get_libc_version"):
            trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
            return bool(library.mallopt(mmap_threshold, 1 << 30) and library.mallopt(trim_threshold, (1 << 31) - 1))
    return False


def free_memory() -> int | None:
    """Return the bytes that this process can still take, of the machine and of its container; None: unknown."""
    limits = []
    if available := re.search(r"MemAvailable:\s+(\d+) kB", _read("/proc/meminfo")):
        limits.append(int(available[1]) * 1024)
    with contextlib.suppress(ValueError):  # no container, or "max": no limit
        limit, used = (int(_read(f"/sys/fs/cgroup/memory.{name}")) for name in ("max", "current"))
        limits.append(max(0, limit - used))
    if not limits:
        with contextlib.suppress(OSError, AttributeError, ValueError):  # Windows: no sysconf; macOS: no such name in it
            limits.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(limits, default=None)


def inference_batch(on: torch.device) -> int:
    """Return how many images to pass at once without gradients: 64 on a CPU, whose caches hold as much, else 500."""
    return 64 if on.type == "cpu" else 500


def duration(seconds: float) -> str:
    """Return a time in words, to two digits."""
    amount, unit = (seconds / 60, "minutes") if seconds < 5400 else (seconds / 3600, "hours")
    return f"{amount:,.0f} {unit}" if amount >= 9.5 else f"{amount:.1f} {unit}"


def environment_report() -> str:
    """Return what runs here, line by line: versions, hardware, the chosen device and where data is kept."""
    rows = [*versions().items(), ("hardware", hardware()), ("device", str(device())), ("data", str(data_dir()))]
    return "\n".join(f"{name:>13}: {value}" for name, value in rows)
