"""The download path, against a server on the loopback and a small archive of the real format."""

import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest
import torch
from torchvision import datasets

from dcd_utils import data
from dcd_utils.data import cifar100

NAMES = sorted(name for group in cifar100.SUPERCLASSES.values() for name in group.split())


def md5(content):
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def archive(monkeypatch):
    """(bytes, pixels): an archive as CIFAR-100 ships it, with 200 + 100 images; torchvision is told its checksums."""
    rng = np.random.default_rng(0)
    pixels = {
        "train": rng.integers(0, 256, (200, 3072), dtype=np.uint8),
        "test": rng.integers(0, 256, (100, 3072), dtype=np.uint8),
    }
    files = {"meta": pickle.dumps({"fine_label_names": NAMES, "coarse_label_names": []})}
    for part, rows in pixels.items():
        files[part] = pickle.dumps({"data": rows, "fine_labels": [index % 100 for index in range(len(rows))]})
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"cifar-100-python/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    content = stream.getvalue()
    monkeypatch.setattr(datasets.CIFAR100, "tgz_md5", md5(content))
    monkeypatch.setattr(datasets.CIFAR100, "train_list", [["train", md5(files["train"])]])
    monkeypatch.setattr(datasets.CIFAR100, "test_list", [["test", md5(files["test"])]])
    monkeypatch.setattr(
        datasets.CIFAR100, "meta", {"filename": "meta", "key": "fine_label_names", "md5": md5(files["meta"])}
    )
    return content, pixels


def test_downloads_checks_and_loads(tmp_path, archive, serve):
    content, pixels = archive
    train, test = data.load("cifar100", root=tmp_path, url=serve(content), device="cpu")
    assert train.name == test.name == "CIFAR-100"
    assert len(train) == 200 and len(test) == 100 and train.classes == tuple(NAMES)
    assert torch.equal(train.images, torch.from_numpy(pixels["train"].reshape(-1, 3, 32, 32)))
    assert train.images.is_contiguous() and train.labels[101] == 1
    assert train.superclass_names[train.superclasses[NAMES.index("trout")]] == "fish"
    again, _ = data.load("cifar100", root=tmp_path, download=False, device="cpu")
    assert again.digest() == train.digest()


def test_a_half_downloaded_archive_is_replaced(tmp_path, archive, serve):
    content, _ = archive
    (tmp_path / "cifar-100-python.tar.gz").write_bytes(content[:1000])
    train, _ = data.load("cifar100", root=tmp_path, url=serve(content), device="cpu")
    assert len(train) == 200


@pytest.mark.parametrize("kept", [1000, 0])
def test_a_damaged_download_says_what_to_do(tmp_path, archive, serve, kept):
    content, _ = archive
    with pytest.raises(RuntimeError, match="not complete.*md5.*by hand"):
        data.load("cifar100", root=tmp_path, url=serve(content[:kept]))


def test_absent_files_and_no_network(tmp_path, archive):
    with pytest.raises(RuntimeError, match="download=True"):
        data.load("cifar100", root=tmp_path, download=False)
    with pytest.raises(RuntimeError, match="not complete"):
        data.load("cifar100", root=tmp_path, url="http://127.0.0.1:9/cifar.tar.gz")


@pytest.mark.parametrize("as_url", [True, False])
def test_a_file_is_a_mirror_too(tmp_path, archive, as_url):
    mirror, content = tmp_path / "a mirror" / "ünnamed.tar.gz", archive[0]
    mirror.parent.mkdir()
    url = mirror.as_uri() if as_url else str(mirror)
    with pytest.raises(RuntimeError, match="CIFAR-100 is not complete.*url= of a mirror"):
        data.load("cifar100", root=tmp_path / "data", url=url)
    mirror.write_bytes(content[:1000])
    with pytest.raises(RuntimeError, match="CIFAR-100 is not complete.*1,000 bytes with md5"):
        data.load("cifar100", root=tmp_path / "data", url=url)
    mirror.write_bytes(content)
    assert len(data.load("cifar100", root=tmp_path / "data", url=url, device="cpu")[0]) == 200
    assert mirror.read_bytes() == content


@pytest.mark.parametrize(
    "url", ["nonsense:mirror", "http://a mirror/x", "http:///x", "ftp://127.0.0.1:9/x", "", "/none"]
)
def test_impossible_mirrors_are_one_clear_error(tmp_path, archive, url):
    with pytest.raises(RuntimeError, match="CIFAR-100 is not complete.*url= of a mirror"):
        data.load("cifar100", root=tmp_path, url=url or "file:///")
