import json
import os
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from dcd_utils import data
from dcd_utils.data import cifar100, decoding, folder

PAGE = (Path(__file__).parents[2] / "docs" / "inputs.md").read_text(encoding="utf-8")


def draw(path, level=100, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (32, 32), (level,) * 3 if mode == "RGB" else level).save(path, "PNG")


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


def test_flat_folders_have_the_order_and_the_cache_key_that_they_always_had(tree, monkeypatch):
    keys = []
    monkeypatch.setattr(decoding, "cached", lambda name, key, make: keys.append((name, key)) or make())
    folder.load(tree)

    def files(part, name):
        paths = sorted(path for path in (tree / part / name).iterdir() if path.suffix != ".txt")
        return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths]

    listing = {part: {name: files(part, name) for name in ("cat", "dog")} for part in ("train", "test")}
    assert json.loads(json.dumps(keys)) == [["images-32px", [str(tree), 32, listing]]]


def test_nested_folders_are_read_as_imagefolder_reads_them(tmp_path, capsys):
    names = ["b.png", "a/z.png", "a b/y.png", "a-b/x.png", "a/deep/w.png", "c.png/v.png", "Z.png"]
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            for index, file in enumerate(names):
                draw(tmp_path / part / name / file, 10 * index + (name == "dog"))
    (tmp_path / "elsewhere").mkdir()
    draw(tmp_path / "elsewhere" / "linked.png", 200)
    (tmp_path / "train" / "dog" / "more").symlink_to(tmp_path / "elsewhere")
    train, test = data.load("folder", root=tmp_path, device="cpu")
    for part, images in (("train", train), ("test", test)):
        theirs = ImageFolder(tmp_path / part)
        assert images.classes == tuple(theirs.classes) and images.labels.tolist() == theirs.targets
        levels = [np.asarray(Image.open(path))[0, 0, 0] for path, _ in theirs.samples]
        assert images.images[:, 0, 0, 0].tolist() == levels
    assert len(train) == 15 and not capsys.readouterr().out, "nothing was left out"
    draw(tmp_path / "train" / "dog" / ".git" / "hidden.png")
    draw(tmp_path / "train" / ".ipynb_checkpoints" / "hidden.png")
    assert folder.load(tmp_path)[0].digest() == train.digest() and not capsys.readouterr().out


def test_what_is_left_out_is_counted_and_named_by_part(tree, capsys):
    for name in ("1.xyz", "2.XYZ", "3.pdf", "README", "deep/4.xyz"):
        (tree / "train" / "dog" / name).parent.mkdir(exist_ok=True)
        (tree / "train" / "dog" / name).write_text("Python or P5", encoding="utf-8")
    draw(tree / "train" / "beside.png")
    (tree / "train" / "cat" / ".hidden.xyz").write_text("", encoding="utf-8")
    for cache in (True, True, False):
        train, _ = data.load("folder", root=tree, device="cpu", cache=cache)
        [line] = capsys.readouterr().out.splitlines()
        assert line.startswith(f'7 files left out of "{tree / "train"}" (.xyz 3, ') and len(train) == 8
        assert {*line.partition(".xyz 3, ")[2].rstrip(")").split(", ")} == {
            ".txt 1", ".pdf 1", "no ending 1", "beside the class folders 1"
        }  # fmt: skip
    draw(tree / "test" / "dog" / "photo")
    assert len(folder.load(tree)[1]) == 5, "an image without an ending"


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_validation_images_are_tested_on_where_there_is_no_test_folder(tree, name, capsys):
    expected = [part.digest() for part in folder.load(tree)]
    assert "in its place" not in capsys.readouterr().out
    (tree / "test").rename(tree / name)
    train, test = data.load("folder", root=tree, device="cpu")
    assert [
        train.digest(),
        test.digest(),
    ] == expected and f'"{tree / name}" is read in its place' in capsys.readouterr().out
    draw(tree / "test" / "cat" / "0.png")
    draw(tree / "test" / "dog" / "0.png")
    assert len(folder.load(tree)[1]) == 2 and "in its place" not in capsys.readouterr().out


def test_folders_of_another_layout_are_refused_with_what_is_there(tmp_path):
    images = tmp_path / "images"
    with pytest.raises(FileNotFoundError, match=f'no folder "{re.escape(str(images))}": expected'):
        folder.load(images)
    images.mkdir()
    words = "train/<class>/<image> and .*, there are no folders. See docs/your_own.md"
    with pytest.raises(FileNotFoundError, match=words):
        folder.load(images)
    for name in "abcdefg":
        draw(images / name / "0.png")
    with pytest.raises(
        FileNotFoundError, match='no folder ".*train": expected .*, there are a, b, c, d, e and more. See'
    ):
        folder.load(images)
    draw(images / "train" / "0.png")
    draw(images / "test" / "0.png")
    with pytest.raises(FileNotFoundError, match='no images below ".*train": expected .*train/<class>/<image>'):
        folder.load(images)
    draw(images / "train" / "cat" / "0.png")
    draw(images / "test" / "cat" / "0.png")
    with pytest.raises(
        ValueError, match='only one class was found, "cat", and two or more are .* directly in ".*train"'
    ):
        folder.load(images)


def test_accents_encoded_in_two_ways_are_one_class(tmp_path):
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert composed != apart
    for part, name in (("train", composed), ("test", apart)):
        for index, place in enumerate((name, "tea")):
            draw(tmp_path / part / place / "0.png", 50 * index)
    parts = data.load("folder", root=tmp_path, device="cpu")
    for images in parts:
        assert images.classes == (composed, "tea") and images.labels.tolist() == [0, 1]
        assert images.images[:, 0, 0, 0].tolist() == [0, 50]
    draw(tmp_path / "train" / apart / "1.png")
    if len([*(tmp_path / "train").iterdir()]) == 3:  # not on macOS, where both names are one folder's
        with pytest.raises(ValueError, match='train" has folders whose names look the same .*: join them'):
            folder.load(tmp_path)


def test_what_is_no_file_is_refused_by_name(tree):
    place = tree / "train" / "cat"

    def refused(path, problem):
        with pytest.raises(ValueError, match=re.escape(f'"{path}" {problem}')) as refusal:
            folder.load(tree)
        assert "Errno" not in str(refusal.value)
        path.unlink()

    for path in (place / "gone.png", tree / "train" / "horse"):
        path.symlink_to(tree / "nowhere")
        refused(path, "is a link to nothing, or no file: mend it or remove it")
    (place / "again.png").symlink_to(place / "again.png")
    refused(place / "again.png", "is a link to nothing")
    (place / "up").symlink_to(tree / "train")
    with pytest.raises(ValueError, match='up" leads back to a folder that it lies in: remove the link'):
        folder.load(tree)
    (place / "up").unlink()
    if hasattr(os, "mkfifo"):
        os.mkfifo(place / "pipe.png")
        refused(place / "pipe.png", "is a link to nothing, or no file")
    (place / "empty.png").mkdir()
    assert len(folder.load(tree)[0]) == 8


def test_folders_that_may_not_be_read_are_named(tree, monkeypatch):
    iterdir = Path.iterdir

    def denied(path):
        if path.name == "dog":
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(ValueError, match=r'^".*dog" cannot be read \(Permission denied\): change its permissions$'):
        folder.load(tree)


@pytest.mark.parametrize("mode", ["L", "1", "RGB"])
def test_grey_and_constant_images_have_three_equal_channels_and_a_finite_std(tmp_path, mode):
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            draw(tmp_path / part / name / "0.png", 1, mode)
    train, test = data.load("folder", root=tmp_path, device="cpu")
    assert (train.images == train.images[:, :1]).all() and train.std == (1e-4,) * 3
    assert test.batch(torch.arange(2)).isfinite().all()


@pytest.mark.parametrize("classes, images", [(300, 2), (2, 8), (3, 1)])
def test_many_classes_few_images_and_a_class_that_is_not_tested(tmp_path, classes, images):
    for part in ("train", "test"):
        for name in range(classes - (part == "test")):
            for index in range(images):
                draw(tmp_path / part / f"class {name:03}" / f"{index}.png", name % 256)
    train, test = data.load("folder", root=tmp_path, device="cpu")
    assert train.num_classes == test.num_classes == classes and len(train) == classes * images
    assert test.labels.bincount(minlength=classes).tolist() == [images] * (classes - 1) + [0]
