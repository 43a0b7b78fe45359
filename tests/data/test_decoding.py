"""The cache of decoded images: read back only as it was written, whatever happened to the file."""

import numpy as np
import pytest

from dcd_utils import files
from dcd_utils.data import decoding

ARRAYS = {
    "train": np.arange(2 * 3 * 16 * 16, dtype=np.uint8).reshape(2, 3, 16, 16),
    "test": np.full((1, 3, 16, 16), 7, np.uint8),
}


@pytest.fixture
def calls():
    return []


@pytest.fixture
def load(calls):
    """load() -> the arrays, decoded or read back, which must be right; `calls` counts the decodings."""

    def make():
        calls.append("decoded")
        return ARRAYS

    def load():
        arrays = decoding.cached("photos", ["key", 32], make)
        assert {*arrays} == {*ARRAYS} and all(np.array_equal(arrays[part], ARRAYS[part]) for part in ARRAYS)
        return arrays

    return load


@pytest.fixture
def stored(load):
    load()
    [path] = (files.data_dir() / "cache").iterdir()
    return path


def test_what_was_written_is_read_back_and_another_key_is_not(stored, load, calls):
    load()
    assert calls == ["decoded"]
    other = decoding.cached("photos", ["another key", 32], lambda: {"train": ARRAYS["test"]})
    assert np.array_equal(other["train"], ARRAYS["test"]) and load()["train"].shape == (2, 3, 16, 16)


def test_a_flipped_bit_anywhere_is_noticed(stored, load, calls):
    content = stored.read_bytes()
    header_end = 8 + int.from_bytes(content[:8], "little")
    places = {*range(8), *np.linspace(8, header_end - 1, 30, dtype=int)}
    places |= {*np.linspace(header_end, len(content) - 1, 30, dtype=int)}
    assert len(places) == 68
    for number, place in enumerate(sorted(places)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << number % 8
        stored.write_bytes(damaged)
        calls.clear()
        load()
        assert calls == ["decoded"] and stored.read_bytes() == content, f"bit {number % 8} of byte {place}"


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 9, 100, 0.5, 0.9, -1])
def test_a_truncated_or_emptied_file_is_decoded_again(stored, load, calls, kept):
    content = stored.read_bytes()
    stored.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    load()
    load()
    assert calls == ["decoded"] * 2 and stored.read_bytes() == content


def test_a_file_without_a_checksum_is_decoded_again(stored, load, calls):
    from safetensors.numpy import save

    stored.write_bytes(save({**ARRAYS, "test": ARRAYS["test"] + 1}))
    load()
    assert calls == ["decoded"] * 2


def test_partial_files_beside_it_and_a_folder_in_its_place_do_no_harm(stored, load, calls, capsys):
    for name in (f".{stored.name}.1.partial", f"{stored.name}.partial", f".{stored.name}.partial"):
        stored.with_name(name).write_bytes(stored.read_bytes()[:500])
    load()
    assert calls == ["decoded"]
    stored.unlink()
    stored.mkdir()
    load()
    assert calls == ["decoded"] * 2 and "could not be kept" in capsys.readouterr().out
