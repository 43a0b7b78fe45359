"""STL-10 from a loopback server: a small archive of the real format, with its columns before its rows."""

import hashlib
import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from dcd_utils import data

NAMES = ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"]
FILENAME = "stl10_binary.tar.gz"


def md5(content):
    return hashlib.md5(content).hexdigest()


def pack(files):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def archive(monkeypatch):
    """(bytes, files, pixels [N, 3, row, column] of each part); torchvision is told the checksums."""
    rng = np.random.default_rng(0)
    pixels = {
        part: rng.integers(0, 256, (size, 3, 6, 6), dtype=np.uint8).repeat(16, 2).repeat(16, 3)
        for part, size in (("train", 20), ("test", 10), ("unlabeled", 2))
    }
    files = {}
    for part, images in pixels.items():
        files[f"{part}_X.bin"] = images.transpose(0, 1, 3, 2).tobytes()
        if part != "unlabeled":
            files[f"{part}_y.bin"] = bytes(index % 10 + 1 for index in range(len(images)))
    monkeypatch.setattr(
        datasets.STL10,
        "train_list",
        [[name, md5(files[name])] for name in ("train_X.bin", "train_y.bin", "unlabeled_X.bin")],
    )
    monkeypatch.setattr(
        datasets.STL10, "test_list", [[name, md5(files[name])] for name in ("test_X.bin", "test_y.bin")]
    )
    files["class_names.txt"] = "\n".join(NAMES).encode() + b"\n"
    files["fold_indices.txt"] = b"0 1 2 \n" * 10
    files = {f"stl10_binary/{name}": content for name, content in files.items()}
    content = pack(files)
    monkeypatch.setattr(datasets.STL10, "tgz_md5", md5(content))
    return content, files, pixels


def test_downloads_checks_and_loads(tmp_path, archive, serve):
    content, _, pixels = archive
    train, test = data.load("stl10", root=tmp_path, url=serve(content), device="cpu")
    assert train.name == test.name == "STL-10"
    assert len(train) == 20 and len(test) == 10 and train.classes == test.classes == tuple(NAMES)
    assert train.images.shape == (20, 3, 32, 32) and train.labels.tolist() == [*range(10)] * 2
    assert (train.mean, train.std) == ((0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2712))
    expected = Image.fromarray(pixels["train"][3].transpose(1, 2, 0)).resize((32, 32), Image.Resampling.BILINEAR)
    assert torch.equal(train.images[3], torch.from_numpy(np.array(expected)).permute(2, 0, 1))
    again, _ = data.load("stl10", root=tmp_path, download=False, device="cpu")
    assert again.digest() == train.digest()


def test_rows_are_rows_as_in_torchvision(tmp_path, archive, serve):
    content, _, pixels = archive
    _, test = data.load("stl10", root=tmp_path, url=serve(content), side=96, device="cpu")
    assert torch.equal(test.images, torch.from_numpy(pixels["test"]))
    (tmp_path / "stl10_binary" / "unlabeled_X.bin").write_bytes(pixels["unlabeled"].swapaxes(2, 3).tobytes())
    theirs = datasets.STL10(tmp_path, split="test")
    assert torch.equal(test.images, torch.from_numpy(theirs.data.copy())) and test.labels.tolist() == [*theirs.labels]


def test_takes_out_only_what_it_needs(tmp_path, archive, serve, monkeypatch):
    _, files, _ = archive
    content = pack({"../outside.txt": b"no", "stl10_binary/../../outside.txt": b"no", **files})
    monkeypatch.setattr(datasets.STL10, "tgz_md5", md5(content))
    root = tmp_path / "a" / "b"
    data.load("stl10", root=root, url=serve(content), device="cpu")
    left = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["class_names.txt", FILENAME, "test_X.bin", "test_y.bin", "train_X.bin", "train_y.bin"]


@pytest.mark.parametrize("damaged", ["archive", "images", "names"])
def test_what_is_not_whole_is_replaced(tmp_path, archive, serve, damaged):
    content, files, _ = archive
    first, _ = data.load("stl10", root=tmp_path, url=serve(content), device="cpu")
    path = (
        tmp_path
        / {"archive": FILENAME, "images": "stl10_binary/train_X.bin", "names": "stl10_binary/class_names.txt"}[damaged]
    )
    if damaged == "names":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:5000])
    if damaged == "archive":
        (tmp_path / "stl10_binary" / "test_y.bin").unlink()
        with pytest.raises(RuntimeError, match="not complete.*is damaged, and download=False"):
            data.load("stl10", root=tmp_path, download=False)
    train, _ = data.load("stl10", root=tmp_path, url=serve(content), device="cpu")
    assert train.digest() == first.digest()


def test_an_archive_put_there_by_hand_needs_no_network(tmp_path, archive):
    content, _, _ = archive
    (tmp_path / FILENAME).write_bytes(content)
    assert len(data.load("stl10", root=tmp_path, download=False, device="cpu")[0]) == 20


@pytest.mark.parametrize("kept", [5000, 0])
def test_a_damaged_download_says_what_to_do_and_leaves_nothing(tmp_path, archive, serve, kept):
    content, _, _ = archive
    with pytest.raises(RuntimeError, match=f"not complete.*{kept:,} bytes with md5.*expected.*by hand"):
        data.load("stl10", root=tmp_path, url=serve(content[:kept]))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_truncated_or_wrong_archive_under_its_own_checksum(tmp_path, archive, serve, monkeypatch):
    content, files, _ = archive
    for bad, message in (
        (content[:-3000], "not complete"),
        (pack({name: body for name, body in files.items() if "test_y" not in name}), "lacks stl10_binary/test_y.bin"),
        (pack({**files, "stl10_binary/test_y.bin": bytes([1] * 10)}), "test_y.bin.*another md5"),
    ):
        monkeypatch.setattr(datasets.STL10, "tgz_md5", md5(bad))
        with pytest.raises(RuntimeError, match=message):
            data.load("stl10", root=tmp_path, url=serve(bad))
    assert not list(tmp_path.rglob("*.partial"))


def test_absent_files_no_network_and_an_impossible_side(tmp_path, archive):
    with pytest.raises(RuntimeError, match="is absent, and download=False.*download=True"):
        data.load("stl10", root=tmp_path, download=False)
    with pytest.raises(RuntimeError, match="not complete"):
        data.load("stl10", root=tmp_path, url="http://127.0.0.1:9/stl10.tar.gz")
    with pytest.raises(ValueError, match="16 pixels"):
        data.load("stl10", root=tmp_path, side=8)


def test_a_file_is_a_mirror_too(tmp_path, archive):
    mirror, content = tmp_path / "mirror.tar.gz", archive[0]
    with pytest.raises(RuntimeError, match="STL-10 is not complete.*url= of a mirror"):
        data.load("stl10", root=tmp_path / "data", url=mirror.as_uri())
    mirror.write_bytes(content)
    assert len(data.load("stl10", root=tmp_path / "data", url=mirror.as_uri(), device="cpu")[0]) == 20
