import os
import stat
import subprocess
import sys
import time

import pytest

from dcd_utils import files


def partials(folder):
    return sorted(path.name for path in folder.glob(".*.partial"))


def test_the_data_folder_is_the_one_that_the_environment_names(tmp_path, monkeypatch):
    monkeypatch.setenv("DCD_DATA", str(tmp_path / "mine"))
    assert files.data_dir() == tmp_path / "mine"
    monkeypatch.setenv("DCD_DATA", "~/mine")
    for home in ("HOME", "USERPROFILE"):  # the latter on Windows
        monkeypatch.setenv(home, str(tmp_path))
    assert files.data_dir() == tmp_path / "mine"
    monkeypatch.delenv("DCD_DATA")
    assert files.data_dir().name == "data" and (files.data_dir().parent / "pyproject.toml").exists()


def test_a_relative_data_folder_is_one_folder_for_good(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DCD_DATA", "mine")
    assert files.data_dir() == tmp_path / "mine"
    os.chdir("elsewhere")
    assert files.data_dir() == tmp_path / "mine"
    code = "from dcd_utils.files import data_dir; print(data_dir())"
    environment = os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(files.__file__))}
    command = [sys.executable, "-c", code]
    child = subprocess.run(command, env=environment, capture_output=True, check=True, encoding="utf-8")
    assert child.stdout.strip() == str(tmp_path / "mine")


def test_a_file_is_written_whole_and_synced_before_it_takes_its_name(tmp_path, monkeypatch):
    path, order = tmp_path / "new" / "file.txt", []
    sync, move = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: order.append("sync") or sync(descriptor))
    monkeypatch.setattr(os, "replace", lambda *names: order.append("replace") or move(*names))
    files.write_whole(path, "text")
    assert path.read_text(encoding="utf-8") == "text" and order[:2] == ["sync", "replace"]
    assert order[2:] == ["sync"] or os.name == "nt", "the folder, which holds the name"
    files.write_whole(path, b"bytes")
    assert path.read_bytes() == b"bytes" and partials(path.parent) == []


def busy(times, call):
    """`call`, which Windows refuses so many times because another process has the file open."""
    left = [None] * times

    def refused(*arguments):
        if left:
            left.pop()
            raise PermissionError(13, "Access is denied", *arguments[:1])
        return call(*arguments)

    return refused


def test_on_windows_a_write_waits_for_those_who_read_the_file(tmp_path, monkeypatch):
    path, move = tmp_path / "file.txt", os.replace
    path.write_text("old", encoding="utf-8")
    monkeypatch.setattr(files, "_PAUSES", (0, 0, 0))
    monkeypatch.setattr(os, "replace", busy(3, move))
    files.write_whole(path, "new")
    assert path.read_bytes() == b"new" and partials(tmp_path) == []
    monkeypatch.setattr(os, "replace", busy(4, move))
    with pytest.raises(PermissionError):
        files.write_whole(path, "newer")
    monkeypatch.setattr(files, "_PAUSES", ())
    monkeypatch.setattr(os, "replace", busy(1, move))
    with pytest.raises(PermissionError):
        files.write_whole(path, "newer")
    assert path.read_bytes() == b"new" and partials(tmp_path) == []


def test_a_folder_that_cannot_be_opened_or_synced_does_no_harm(tmp_path, monkeypatch):
    def windows(path, flags):
        raise PermissionError(13, "Permission denied", str(path))

    def some_disks(descriptor, sync=os.fsync):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")
        sync(descriptor)

    for name, call in (("open", windows), ("fsync", some_disks)):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, call)
            files.write_whole(tmp_path / name, "text")
        assert (tmp_path / name).read_bytes() == b"text"


def test_a_label_becomes_a_name_that_every_system_takes():
    name = "timm.a.b-dcd+kd@alpha=0.5,weight=2 ..x...y...z."
    assert files.file_name('timm/a:b-dcd+kd@alpha=0.5,weight=2 <"x">|y?*\\z\n') == name == files.file_name(name)


def test_what_a_console_cannot_show_is_printed_as_an_escape():
    code = "from dcd_utils import files; files.print_anything(); print('71.2 \u00b1 0.3, \u732b')"
    environment = os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(files.__file__))}
    for encoding, expected in (("cp1252", b"71.2 \xb1 0.3, \\u732b"), ("ascii", b"71.2 \\xb1 0.3, \\u732b")):
        settings = environment | {"PYTHONIOENCODING": f"{encoding}:strict"}
        child = subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, check=True)
        assert child.stdout.strip() == expected


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch, name):
    path = tmp_path / "file.txt"
    path.write_text("old", encoding="utf-8")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, name, full)
    with pytest.raises(OSError, match="No space left"):
        files.write_whole(path, "new")
    assert path.read_text(encoding="utf-8") == "old" and partials(tmp_path) == []


def test_only_partials_that_nobody_writes_any_more_are_removed(tmp_path):
    for name, age in ((".old.1.partial", 3700), (".young.2.partial", 3500)):
        (tmp_path / name).write_text("half", encoding="utf-8")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    (tmp_path / "mine.partial").write_text("somebody's own", encoding="utf-8")
    files.write_whole(tmp_path / "file.txt", "text")
    assert partials(tmp_path) == [".young.2.partial"]
    files.remove_partials(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"file.txt", "mine.partial"}


def test_sha256_of_bytes_and_of_a_file(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.sha256(b"abc") == files.sha256(tmp_path / "abc") == expected
