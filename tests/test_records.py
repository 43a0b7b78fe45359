import json
from pathlib import Path

import pytest

from dcd_utils import files, runtime
from dcd_utils.records import make_record, read_record, write_record


def record(**results):
    history = [{"epoch": 1, "loss": 1e-05, "test_accuracy": 50.0}, {"epoch": 2, "loss": 0.1, "test_accuracy": 100 / 3}]
    data = {"name": "shapes", "train": 40, "test": 20}
    return make_record({"kind": "train", "seed": 0}, data, accuracy=100 / 3, history=history, **results)


def test_a_record_says_what_was_done_by_whom_and_when():
    made = record()
    assert made["kind"] == "train" and made["state"] == "finished"
    assert made["hardware"] == runtime.hardware() and made["versions"] == runtime.versions()
    assert made["data"]["name"] == "shapes" and len(made["date"]) == 10


@pytest.mark.parametrize("results", [{}, {"reason": 'the "loss" is nan'}, {"files": {"a.pt": "0" * 64}}])
def test_a_record_is_read_as_it_was_written_and_written_again_to_the_same_bytes(tmp_path, results):
    write_record(tmp_path / "a.json", record(**results))
    assert read_record(tmp_path / "a.json") == record(**results)
    write_record(tmp_path / "b.json", read_record(tmp_path / "a.json"))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    lines = (tmp_path / "a.json").read_text(encoding="utf-8").splitlines()
    assert sum(line.startswith('  {"epoch"') for line in lines) == 2, "one line per epoch"
    without = {key: value for key, value in record(**results).items() if key != "history"}
    write_record(tmp_path / "c.json", without)
    assert read_record(tmp_path / "c.json") == without


def test_a_record_that_was_changed_in_any_way_is_damaged(tmp_path):
    write_record(path := tmp_path / "a.json", record())
    whole, expected, noticed = path.read_bytes(), record(), 0
    contents = [whole[:length] for length in (0, 1, len(whole) // 2, len(whole) - 3)]
    contents += [whole.replace(b"50.0", b"60.0"), whole.replace(b'"seed": 0', b'"seed": 1'), b"\xff" * 100]
    for place in range(0, len(whole), 7):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << (place % 8)
        contents.append(bytes(flipped))
    for content in contents:
        path.write_bytes(content)
        try:
            assert read_record(path) == expected
        except ValueError as error:
            assert str(path) in str(error)
            noticed += 1
    assert noticed >= len(contents) - 2, "but for the e of 1e-05 and the line's end, which mean the same in capitals"
    path.write_bytes(contents[4])
    with pytest.raises(ValueError, match="is damaged .its content does not match its checksum"):
        read_record(path)


def test_on_windows_a_record_that_is_being_replaced_is_read_a_little_later(tmp_path, monkeypatch):
    write_record(path := tmp_path / "a.json", record())
    answers, read = [PermissionError(13, "Permission denied", str(path))] * 2, Path.read_bytes

    def busy(path):
        if answers:
            raise answers.pop()
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", busy)
    monkeypatch.setattr(files, "_PAUSES", (0, 0))
    assert read_record(path) == record() and not answers


@pytest.mark.parametrize("content", [[], {}, {"kind": "train", "state": "finished"}, 3])
def test_another_file_is_no_record(tmp_path, content):
    (tmp_path / "a.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match="no record of a run"):
        read_record(tmp_path / "a.json")
