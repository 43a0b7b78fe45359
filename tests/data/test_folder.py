import os

import numpy as np
import pytest
import torch
from PIL import Image

from dcd_utils import data
from dcd_utils.data import cifar100, decoding, folder


@pytest.fixture
def tree(tmp_path):
    """train and test of two classes: PNG and JPEG, colour and grey, several sizes."""
    root = tmp_path / "images"
    rng = np.random.default_rng(0)
    for part, count in (("train", 3), ("test", 2)):
        for name in ("cat", "dog"):
            (root / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{index}.png")
    Image.fromarray(rng.integers(0, 256, (50, 40), dtype=np.uint8)).save(root / "train" / "cat" / "grey.jpg")
    Image.fromarray(rng.integers(0, 256, (20, 64, 4), dtype=np.uint8), "RGBA").save(
        root / "train" / "dog" / "clear.PNG"
    )
    (root / "train" / "cat" / "notes.txt").write_text("not an image", encoding="utf-8")
    return root


def test_reads_sorts_and_keeps_pixels(tree):
    train, test = data.load("folder", root=tree, device="cpu")
    assert train.classes == ("cat", "dog") and len(train) == 8 and len(test) == 4
    assert train.labels.tolist() == [0] * 4 + [1] * 4
    original = np.asarray(Image.open(tree / "train" / "cat" / "1.png")).transpose(2, 0, 1)
    assert torch.equal(train.images[1], torch.from_numpy(original.copy()))
    floats = train.images.double() / 255
    torch.testing.assert_close(torch.tensor(train.mean).double(), floats.mean((0, 2, 3)), atol=6e-5, rtol=0)
    torch.testing.assert_close(torch.tensor(train.std).double(), floats.std((0, 2, 3), correction=0), atol=6e-5, rtol=0)
    assert data.load("folder", root=tree, side=48)[0].images.shape == (8, 3, 48, 48)
    assert train.name == test.name == "images", "the folder's own name"


def test_second_load_comes_from_the_cache_and_notices_changes(tree, monkeypatch):
    first, _ = folder.load(tree)
    monkeypatch.setattr(decoding, "decode", lambda *_: pytest.fail("decoded again"))
    assert folder.load(tree)[0].digest() == first.digest()
    monkeypatch.undo()
    os.environ["DCD_DATA"] = str(tree.parent / "data")
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tree / "train" / "cat" / "1.png")
    assert folder.load(tree)[0].digest() != first.digest()


def test_sixteen_bits_turned_photographs_and_transparency(tree):
    root, ramp = tree / "train" / "cat", np.linspace(0, 65535, 32 * 32).reshape(32, 32)
    for old in root.iterdir():
        old.unlink()
    Image.fromarray(ramp.astype(np.uint16)).save(root / "0.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held on its side
    wide = np.zeros((32, 32, 3), np.uint8)
    wide[:16] = 255  # what it saw on top
    Image.fromarray(wide).save(root / "1.png", exif=turned)
    Image.fromarray(np.full((32, 32, 4), (9, 9, 9, 0), np.uint8), "RGBA").save(root / "2.png")
    train, _ = data.load("folder", root=tree, device="cpu")
    grey = train.images[0, 0].double()
    assert (grey - torch.from_numpy(ramp) / 257).abs().max() <= 1 and (train.images[0] == train.images[0, :1]).all()
    assert (train.images[1, :, :, 16:] == 255).all() and (train.images[1, :, :, :16] == 0).all()
    assert (train.images[2] == 255).all(), "what nobody sees has no colour"
    Image.fromarray(ramp.astype(np.float32)).save(root / "3.tiff")
    with pytest.raises(ValueError, match="3.tiff.*floating-point numbers: save it with 8 or 16 bits per channel"):
        data.load("folder", root=tree, device="cpu")


def test_an_unreadable_image_is_named(tree):
    (tree / "test" / "dog" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    with pytest.raises(ValueError, match="broken.png"):
        data.load("folder", root=tree)


def test_a_half_written_image_is_named(tree):
    path = tree / "train" / "dog" / "0.png"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ValueError, match="0.png"):
        data.load("folder", root=tree)


def test_missing_and_disagreeing_folders(tree, tmp_path):
    with pytest.raises(FileNotFoundError, match="train/<class>/<image>"):
        data.load("folder", root=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="root="):
        data.load("folder")
    with pytest.raises(ValueError, match="16 pixels"):
        data.load("folder", root=tree, side=8)
    (tree / "test" / "horse").mkdir()
    with pytest.raises(ValueError, match="train lacks: horse"):
        data.load("folder", root=tree)
    (tree / "train" / "horse").mkdir()
    with pytest.raises(FileNotFoundError, match="horse"):
        data.load("folder", root=tree)


def test_cifar100_class_names_bring_their_superclasses(tmp_path):
    names = [name for group in cifar100.SUPERCLASSES.values() for name in group.split()]
    assert len(set(names)) == 100 and len(cifar100.SUPERCLASSES) == 20
    assert all(len(group.split()) == 5 for group in cifar100.SUPERCLASSES.values())
    superclasses, superclass_names = cifar100.superclasses_of(sorted(names))
    assert superclass_names[superclasses[sorted(names).index("beaver")]] == "aquatic mammals"
    assert cifar100.superclasses_of(["cat", "dog"]) == (None, None)
