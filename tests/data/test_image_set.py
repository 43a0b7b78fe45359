from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dcd_utils import data, experiments
from dcd_utils.data import ImageSet


def test_normalize_is_the_textbook_formula(shapes):
    train, _ = shapes
    mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in (train.mean, train.std))
    expected = (train.images[:7].double() / 255 - mean) / std
    result = train.batch(torch.arange(7))
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(result.double(), expected, atol=1e-5, rtol=0)


def test_batch_applies_each_view(shapes):
    train, _ = shapes
    indices, numbers = torch.tensor([3, 1]), torch.tensor([5, 161])
    expected = train.normalize(data.views.augment(train.images[indices], numbers))
    assert torch.equal(train.batch(indices, numbers), expected)


def test_batches_bring_no_numbers_to_the_device(shapes):
    """Each would make the host wait for a GPU, once a step."""
    names = []

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), named=None):
            names.append(function.overloadpacket.__name__)
            return function(*arguments, **(named or {}))

    train = shapes[0].subset(range(8))
    for expected in (2, 0):  # mean and std, the first time
        names.clear()
        with Names():
            train.batch(torch.arange(4), torch.arange(4))
        assert names.count("lift_fresh") == expected and "index" in names
    other = replace(train, mean=(0.1, 0.2, 0.3))
    assert not torch.equal(other.batch(torch.arange(4)), train.batch(torch.arange(4)))


def test_a_set_made_from_another_has_a_digest_of_its_own(shapes):
    train = shapes[0].subset(range(8))
    digests = [train.digest()]
    for changes in ({"labels": train.labels.flip(0)}, {"images": train.images.flip(0)}, {"mean": (0.1, 0.2, 0.3)}):
        digests.append(replace(train, **changes).digest())
    assert len(set(digests)) == 4


def test_the_name_is_kept_and_is_no_part_of_the_digest(shapes):
    train, test = shapes
    assert train.name == test.name == "shapes"
    named = replace(train, name="mine")
    assert named.digest() == train.digest()
    assert named.subset([1]).name == named.to("cpu").name == replace(named, mean=(0.1, 0.2, 0.3)).name == "mine"
    assert {part.name for part in named.hold_out(60)} == {"mine, 60 training images held out to test on"}
    nameless = ImageSet(train.images, train.labels, train.classes, train.mean, train.std)
    assert nameless.name == "" and nameless.hold_out(60)[0].name == "60 training images held out to test on"


def test_subset_and_digest(shapes):
    train, _ = shapes
    part = train.subset([4, 2])
    assert torch.equal(part.images, train.images[[4, 2]]) and part.labels.tolist() == train.labels[[4, 2]].tolist()
    assert part.digest() != train.digest() == train.subset(range(len(train))).digest()
    assert len(train.subset(train.labels == 0)) == int((train.labels == 0).sum())
    assert train.to("cpu") is train


def test_impossible_sets_are_refused():
    images, stats = torch.zeros(4, 3, 16, 16, dtype=torch.uint8), ((0.5,) * 3, (0.2,) * 3)
    with pytest.raises(ValueError, match="expected uint8"):
        ImageSet(images.float(), torch.zeros(4, dtype=torch.int64), ("a",), *stats)
    with pytest.raises(ValueError, match="expected int64 \\[4\\]"):
        ImageSet(images, torch.zeros(3, dtype=torch.int64), ("a",), *stats)
    with pytest.raises(ValueError, match="there are 1 classes"):
        ImageSet(images, torch.ones(4, dtype=torch.int64), ("a",), *stats)


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"images": np.zeros((4, 3, 16, 16), np.uint8)},
            r"images are of the type ndarray: .*torch.as_tensor\(images",
        ),
        ({"images": [[0]]}, "images are of the type list: expected a tensor"),
        ({"images": torch.zeros(4, 1, 16, 16, dtype=torch.uint8)}, r"\(4, 1, 16, 16\).*images.expand\(-1, 3, -1, -1\)"),
        ({"images": torch.zeros(4, 16, 16, 3, dtype=torch.uint8)}, r"\(4, 16, 16, 3\).*images.permute\(0, 3, 1, 2\)"),
        ({"labels": [0, 1, 0, 1]}, r"labels are of the type list: .*torch.as_tensor\(labels"),
        ({"labels": np.array([0, 1, 0, 1])}, "labels are of the type ndarray: expected a tensor"),
        ({"labels": torch.zeros(4, dtype=torch.int32)}, r"int32 \(4,\): expected int64 \[4\].*labels.long\(\)"),
        ({"labels": torch.zeros(4, 2, dtype=torch.int64)}, r"\(4, 2\): expected int64 \[4\], one per image"),
        ({"classes": "ab"}, "classes='ab' was given: expected a tuple of names"),
        ({"mean": 0.5}, "mean=0.5 .*: expected three of each"),
        ({"mean": (0.5,)}, "expected three of each, one per channel"),
        ({"std": (0.5, 0.5)}, "expected three of each, one per channel"),
        ({"std": (0.5, 0.0, 0.5)}, "no std of 0"),
        ({"std": (0.5, float("nan"), 0.5)}, "no std of 0"),
        ({"std": (0.5, float("inf"), 0.5)}, "no std of 0"),
        ({"mean": (125.3, 123.0, 113.9)}, "of pixels from 0 to 1: .*means in that range"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(changes, message):
    fields = {
        "images": torch.zeros(4, 3, 16, 16, dtype=torch.uint8), "labels": torch.tensor([0, 1, 0, 1]),
        "classes": ("a", "b"), "mean": (0.5,) * 3, "std": (0.2,) * 3,
    }  # fmt: skip
    assert len(ImageSet(**fields)) == 4
    with pytest.raises(ValueError, match=message):
        ImageSet(**(fields | changes))


def test_advice_and_lists_give_the_same_set():
    grey, labels = torch.arange(4 * 256).remainder(256).byte().view(4, 1, 16, 16), torch.tensor([0, 1, 0, 1])
    usual = ImageSet(grey.repeat(1, 3, 1, 1), labels, ("a", "b"), (0.5, 0.4, 0.3), (0.2,) * 3)
    other = ImageSet(
        grey.expand(-1, 3, -1, -1), torch.as_tensor(labels.numpy()), ["a", "b"], np.array([0.5, 0.4, 0.3]), [0.2] * 3
    )
    assert other.digest() == usual.digest() and (other.classes, other.mean, other.std) == (
        ("a", "b"),
        usual.mean,
        usual.std,
    )
    assert torch.equal(other.batch(torch.arange(4), torch.arange(4)), usual.batch(torch.arange(4), torch.arange(4)))


@pytest.mark.parametrize("name", ["shapes", "new_shapes"])
def test_drawn_images_take_no_root(name):
    with pytest.raises(ValueError, match=f'"{name}" is drawn, it takes no root: .*"folder" .--dataset folder.'):
        data.load(name, root="/none")
    with pytest.raises(ValueError, match="is drawn, it takes no root"):
        experiments.profile("quick", dataset=name, root="my_images").load()


def test_unknown_names_list_the_known():
    with pytest.raises(ValueError, match="shapes, new_shapes, cifar100, stl10, tiny_imagenet, imagenet, folder"):
        data.load("imagenet22k")
    assert data.names() == ["shapes", "new_shapes", "cifar100", "stl10", "tiny_imagenet", "imagenet", "folder"]


def test_images_held_out_are_a_fair_share_of_every_class_and_no_others(shapes):
    train, _ = shapes
    rest, held_out = train.hold_out(60, seed=1)
    assert (len(rest), len(held_out)) == (180, 60) and held_out.labels.bincount().tolist() == [3] * 20
    rows = {row.tobytes() for part in (rest, held_out) for row in part.images.numpy()}
    assert rows == {row.tobytes() for row in train.images.numpy()}
    assert held_out.digest() == train.hold_out(60, seed=1)[1].digest() != train.hold_out(60, seed=2)[1].digest()
    for count in (5, 239):
        with pytest.raises(ValueError, match="between 20 and 220"):
            train.hold_out(count)
    label = int(train.labels[0])
    lone = [0, *(train.labels != label).nonzero().flatten().tolist()]
    with pytest.raises(ValueError, match=f'class "{train.classes[label]}" has a single image'):
        train.subset(lone).hold_out(60)
