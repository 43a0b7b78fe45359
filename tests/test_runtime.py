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

    class Other:
        pass

    def missing(name):
        raise OSError

    monkeypatch.setattr(runtime.ctypes, "CDLL", lambda name: Gnu)
    assert runtime.reuse_freed_memory() and asked == [(-3, 2**30), (-1, 2**31 - 1)]
    for library in (lambda name: Other, missing):
        monkeypatch.setattr(runtime.ctypes, "CDLL", library)
        assert not runtime.reuse_freed_memory()


def test_free_memory_is_the_least_of_machine_and_container(tmp_path, monkeypatch):
    assert runtime.free_memory() > 1e6
    monkeypatch.setattr(runtime, "Path", lambda *parts: tmp_path / "/".join(parts).strip("/").replace("/", "_"))
    (tmp_path / "proc_meminfo").write_text("MemFree:  1 kB\nMemAvailable:       2000 kB\n", encoding="utf-8")
    assert runtime.free_memory() == 2_048_000
    (tmp_path / "sys_fs_cgroup_memory.current").write_text("400\n", encoding="utf-8")
    (tmp_path / "sys_fs_cgroup_memory.max").write_text("max\n", encoding="utf-8")
    assert runtime.free_memory() == 2_048_000
    (tmp_path / "sys_fs_cgroup_memory.max").write_text("1000\n", encoding="utf-8")
    assert runtime.free_memory() == 600
