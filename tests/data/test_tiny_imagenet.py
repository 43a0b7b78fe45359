"""Tiny ImageNet from a loopback server: a small archive of the real format."""

import hashlib
import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from dcd_utils import data
from dcd_utils.data import decoding, tiny_imagenet

# as in wnids.txt, whose order is not sorted
WNIDS = ["n02124075", "n01443537", "n02012849", "n03126707"]
WORDS = (
    "n00001740\tentity\n"
    "n01443537\tgoldfish, Carassius auratus\n"
    "n02012849\tcrane\n"
    "n02124075\tEgyptian cat\n"
    "n03126707\tcrane\n"
)
CLASSES = ("goldfish", "crane (n02012849)", "Egyptian cat", "crane (n03126707)")


def jpeg(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def tree():
    """Name -> content, as the archive has them: 3 training images and 2 validation images a class, boxes, a test."""
    rng = np.random.default_rng(0)

    def image(grey=False):
        return jpeg(rng.integers(0, 256, (64, 64) if grey else (64, 64, 3), dtype=np.uint8))

    files = {"wnids.txt": "\n".join(WNIDS).encode() + b"\n", "words.txt": WORDS.encode()}
    for wnid in WNIDS:
        files[f"train/{wnid}/{wnid}_boxes.txt"] = f"{wnid}_0.JPEG\t0\t0\t63\t63\n".encode()
        for index in range(3):
            files[f"train/{wnid}/images/{wnid}_{index}.JPEG"] = image(grey=index == 1)
    lines = []
    for index in range(8):
        files[f"val/images/val_{index}.JPEG"] = image()
        lines.append(f"val_{index}.JPEG\t{WNIDS[index % 4]}\t0\t32\t44\t62\n")
    files["val/val_annotations.txt"] = "".join(lines).encode()
    files["test/images/test_0.JPEG"] = image()
    return files


@pytest.fixture
def pack(monkeypatch):
    """pack(files) -> the zip's content, whose checksum is expected from now on."""

    def make(files):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("tiny-imagenet-200/", "")
            for name, content in files.items():
                archive.writestr("tiny-imagenet-200/" + name, content)
        content = stream.getvalue()
        monkeypatch.setattr(tiny_imagenet, "MD5", hashlib.md5(content).hexdigest())
        return content

    return make


def test_downloads_checks_and_loads(tmp_path, pack, serve):
    files = tree()
    train, val = data.load("tiny_imagenet", root=tmp_path, url=serve(pack(files)), device="cpu")
    assert train.name == val.name == "Tiny ImageNet"
    assert train.classes == val.classes == CLASSES
    assert train.images.shape == (12, 3, 32, 32) and train.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert val.labels.tolist() == [2, 0, 1, 3, 2, 0, 1, 3]
    assert (train.mean, train.std) == ((0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821))
    for images, index, name in (
        (train.images, 4, "train/n02012849/images/n02012849_1.JPEG"),
        (val.images, 5, "val/images/val_5.JPEG"),
    ):
        expected = Image.open(io.BytesIO(files[name])).convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
        assert torch.equal(images[index], torch.from_numpy(np.array(expected)).permute(2, 0, 1))
    assert data.load("tiny_imagenet", root=tmp_path, side=64, cache=False, device="cpu")[1].images.shape[2:] == (64, 64)
    assert [path.name for path in tmp_path.iterdir() if path.name != "data"] == ["tiny-imagenet-200.zip"]


def test_second_load_needs_neither_network_nor_decoding(tmp_path, pack, serve, monkeypatch):
    first = data.load("tiny_imagenet", root=tmp_path, url=serve(pack(tree())), device="cpu")
    monkeypatch.setattr(decoding, "decode", lambda *_: pytest.fail("decoded again"))
    again = data.load("tiny_imagenet", root=tmp_path, download=False, device="cpu")
    assert [part.digest() for part in again] == [part.digest() for part in first]


def test_nothing_is_unpacked(tmp_path, pack, serve):
    root = tmp_path / "a" / "b"
    files = {**tree(), "../../outside.txt": b"no", "train/n02124075/images/../../../../../outside.JPEG": b"no"}
    data.load("tiny_imagenet", root=root, url=serve(pack(files)), cache=False, device="cpu")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["tiny-imagenet-200.zip"]


@pytest.mark.parametrize("kept", [5000, 0])
def test_a_damaged_download_says_what_to_do_and_leaves_nothing(tmp_path, pack, serve, kept):
    content = pack(tree())
    with pytest.raises(RuntimeError, match=f"not complete.*{kept:,} bytes with md5.*expected.*by hand"):
        data.load("tiny_imagenet", root=tmp_path, url=serve(content[:kept]))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_half_downloaded_archive_is_replaced(tmp_path, pack, serve):
    content = pack(tree())
    (tmp_path / "tiny-imagenet-200.zip").write_bytes(content[:5000])
    with pytest.raises(RuntimeError, match="is damaged, and download=False"):
        data.load("tiny_imagenet", root=tmp_path, download=False)
    assert len(data.load("tiny_imagenet", root=tmp_path, url=serve(content), device="cpu")[0]) == 12


def test_a_truncated_archive_under_its_own_checksum(tmp_path, pack, serve, monkeypatch):
    content = pack(tree())[:-100]
    monkeypatch.setattr(tiny_imagenet, "MD5", hashlib.md5(content).hexdigest())
    with pytest.raises(RuntimeError, match="not complete.*not a zip file"):
        data.load("tiny_imagenet", root=tmp_path, url=serve(content))


def test_absent_files_no_network_and_an_impossible_side(tmp_path):
    with pytest.raises(RuntimeError, match="is absent, and download=False.*download=True"):
        data.load("tiny_imagenet", root=tmp_path, download=False)
    with pytest.raises(RuntimeError, match="not complete"):
        data.load("tiny_imagenet", root=tmp_path, url="http://127.0.0.1:9/tiny.zip")
    with pytest.raises(ValueError, match="16 pixels"):
        data.load("tiny_imagenet", root=tmp_path, side=8)


def without(name):
    def change(files):
        del files[name]

    return change


def put(name, content):
    def change(files):
        files[name] = content

    return change


def annotate(old, new):
    def change(files):
        files["val/val_annotations.txt"] = files["val/val_annotations.txt"].replace(old, new)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("val/val_annotations.txt"), "no tiny-imagenet-200/val/val_annotations.txt"),
        (without("wnids.txt"), "no tiny-imagenet-200/wnids.txt"),
        (without("val/images/val_3.JPEG"), "1 of 8 .*val_3.JPEG has no image"),
        (put("val/images/val_9.JPEG", b""), "1 of 9 .*val_9.JPEG has no annotation in val_annotations.txt"),
        (annotate(b"val_2.JPEG\tn02012849", b"val_2.JPEG\tn0"), 'val_2.JPEG the class "n0", which wnids.txt lacks'),
        (annotate(b"val_2.JPEG\tn02012849\t0\t32\t44\t62", b"val_2.JPEG"), 'the class "", which wnids.txt lacks'),
        (put("wnids.txt", "\n".join([*WNIDS, "n0"]).encode()), "disagree about n0"),
        (put("train/n7/images/n7_0.JPEG", b""), "disagree about n7"),
        (put("train/n02124075/images/n02124075_2.JPEG", b"not an image"), "n02124075_2.JPEG.*cannot be read"),
    ],
)
def test_an_archive_that_disagrees_with_itself(tmp_path, pack, serve, change, message):
    files = tree()
    change(files)
    with pytest.raises(ValueError, match=message):
        data.load("tiny_imagenet", root=tmp_path, url=serve(pack(files)), cache=False)


def test_a_file_is_a_mirror_too(tmp_path, pack):
    mirror, content = tmp_path / "mirror.zip", pack(tree())
    with pytest.raises(RuntimeError, match="Tiny ImageNet is not complete.*url= of a mirror"):
        data.load("tiny_imagenet", root=tmp_path / "data", url=mirror.as_uri())
    mirror.write_bytes(content)
    assert len(data.load("tiny_imagenet", root=tmp_path / "data", url=mirror.as_uri(), device="cpu")[0]) == 12


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_enormous_image_is_refused_before_it_is_decoded(tmp_path, pack):
    files = tree()
    name = "train/n01443537/images/n01443537_1.JPEG"
    start = files[name].index(b"\xff\xc0") + 5  # height and width of a JPEG file
    files[name] = (
        files[name][:start] + (10_001).to_bytes(2, "big") + (10_000).to_bytes(2, "big") + files[name][start + 4 :]
    )
    (tmp_path / tiny_imagenet.FILENAME).write_bytes(pack(files))
    with pytest.raises(ValueError, match="n01443537_1.JPEG.*more than 100 megapixels"):
        data.load("tiny_imagenet", root=tmp_path, download=False)
