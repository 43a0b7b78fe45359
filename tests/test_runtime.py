import platform
import sys

import pytest
import torch

from dcd_utils import runtime


def test_generator_depends_on_its_name_alone():
    torch.manual_seed(1)
    first = torch.rand(3, generator=runtime.generator("a", 1))
    torch.manual_seed(2)
    assert torch.equal(first, torch.rand(3, generator=runtime.generator("a", 1)))
    assert not torch.equal(first, torch.rand(3, generator=runtime.generator("a", 2)))


def test_digest_sees_names_types_shapes_and_values():
    base = {"a": torch.arange(6.0), "n": torch.tensor(3)}
    variants = [
        {"b": torch.arange(6.0), "n": torch.tensor(3)},
        {"a": torch.arange(6.0).double(), "n": torch.tensor(3)},
        {"a": torch.arange(6.0).view(2, 3), "n": torch.tensor(3)},
        {"a": torch.arange(1, 7.0), "n": torch.tensor(3)},
    ]
    assert runtime.digest(base) == runtime.digest({name: tensor.clone() for name, tensor in base.items()})
    assert len({runtime.digest(tensors) for tensors in [base, *variants]}) == 5
    images = torch.rand(2, 3, 4, 4)
    assert runtime.digest({"x": images}) == runtime.digest({"x": images.to(memory_format=torch.channels_last)})


def test_device_and_report(tmp_path, monkeypatch):
    assert runtime.device("cpu").type == "cpu" and runtime.device().type in ("cuda", "mps", "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match='"cuda" was asked for'):
            runtime.device("cuda")
    monkeypatch.setenv("DCD_DATA", str(tmp_path))
    assert runtime.data_dir() == tmp_path
    report = runtime.environment_report()
    assert all(word in report for word in ("torch", "hardware", "device", str(tmp_path)))
    runtime.seed_everything(3)
    first = torch.rand(1)
    runtime.seed_everything(3)
    assert torch.equal(first, torch.rand(1))


def test_freed_memory_is_kept_where_the_c_library_can(monkeypatch):
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        assert runtime.reuse_freed_memory()
    asked = []

    class Gnu:
        gnu_get_libc_version = None

        @staticmethod
        def mallopt(parameter, value):
            asked.append((parameter, value))
            return 1

    class Apple:  # a library without what GNU's has
        pass

    monkeypatch.setattr(runtime.ctypes, "CDLL", lambda name: Gnu)
    assert runtime.reuse_freed_memory() and asked == [(-3, 2**30), (-1, 2**31 - 1)]
    for library in (lambda name: Apple, no_library_on_windows):
        monkeypatch.setattr(runtime.ctypes, "CDLL", library)
        assert not runtime.reuse_freed_memory()


def no_library_on_windows(name):
    """CDLL(None) as CPython's ctypes answers there: it looks for a separator in the name."""
    return "/" in name or "\\" in name


def test_what_linux_tells_is_unknown_elsewhere(monkeypatch):
    def absent(path, *_, **__):
        raise FileNotFoundError(2, "No such file or directory", str(path))

    def unnamed(name):
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(runtime.Path, "read_text", absent)
    monkeypatch.setattr(runtime.os, "sysconf", unnamed, raising=False)
    assert runtime.free_memory() is None, "macOS"
    monkeypatch.delattr(runtime.os, "sysconf")
    monkeypatch.delattr(runtime.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(runtime.os, "cpu_count", lambda: 6)
    monkeypatch.setattr(runtime.platform, "processor", lambda: "Intel64 Family 6 Model 142 Stepping 10, GenuineIntel")
    assert runtime.free_memory() is None and runtime.cores() == 6, "Windows"
    assert runtime.hardware().startswith("Intel64 Family 6 Model 142 Stepping 10, GenuineIntel, 6 cores, ")
    monkeypatch.setattr(runtime.platform, "processor", lambda: "")
    monkeypatch.setattr(runtime.platform, "machine", lambda: "aarch64")
    assert runtime.hardware().startswith("aarch64, 6 cores, ")


def test_apples_gpu_counts_only_where_it_computes(monkeypatch):
    def without_memory(*_, device):
        raise RuntimeError("MPS backend out of memory (MPS allocated: 0 bytes). Tried to allocate 256 bytes")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for ones, kind in ((lambda *_, device: torch.tensor([1.0]), "mps"), (without_memory, "cpu")):
        monkeypatch.setattr(torch, "ones", ones)
        runtime.has_apple_gpu.cache_clear()
        assert runtime.device().type == kind and ("Apple GPU" in runtime.hardware()) == (kind == "mps")
    runtime.has_apple_gpu.cache_clear()


def test_the_environment_chooses_the_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("DCD_DEVICE", "cpu")
    assert runtime.device().type == "cpu" and runtime.device("cuda").type == "cuda"
    monkeypatch.setenv("DCD_DEVICE", "")
    assert runtime.device().type == "cuda"


def test_free_memory_is_the_least_of_machine_and_container(tmp_path, monkeypatch):
    if sys.platform == "linux":
        assert runtime.free_memory() > 1e6
    monkeypatch.setattr(runtime, "Path", lambda *parts: tmp_path / "/".join(parts).strip("/").replace("/", "_"))
    (tmp_path / "proc_meminfo").write_text("MemFree:  1 kB\nMemAvailable:       2000 kB\n", encoding="utf-8")
    assert runtime.free_memory() == 2_048_000
    (tmp_path / "sys_fs_cgroup_memory.current").write_text("400\n", encoding="utf-8")
    (tmp_path / "sys_fs_cgroup_memory.max").write_text("max\n", encoding="utf-8")
    assert runtime.free_memory() == 2_048_000
    (tmp_path / "sys_fs_cgroup_memory.max").write_text("1000\n", encoding="utf-8")
    assert runtime.free_memory() == 600


def test_durations_in_words():
    expected = {90: "1.5 minutes", 3000: "50 minutes", 5399: "90 minutes", 5400: "1.5 hours", 7.2e6: "2,000 hours"}
    assert {seconds: runtime.duration(seconds) for seconds in expected} == expected
