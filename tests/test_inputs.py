"""docs/inputs.md: every row on checkpoints and networks does what its second column says."""

import argparse
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from dcd_utils import models, training

PAGE = (Path(__file__).parents[1] / "docs" / "inputs.md").read_text(encoding="utf-8")


def rows(section):
    lines = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("|")]
    return dict(cells[2:])


def behind(prefix, state):
    return {prefix + name: value for name, value in state.items()}


def cast(state, dtype):
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}


OLD = {"epoch": 3, "optimizer": {"state": {0: {}}}, "args": argparse.Namespace(out=Path("x")), "best": np.float64(7)}
USUAL = ["model", "state_dict", "model_state_dict", "net"]
CHECKPOINTS = {  # what files of each row hold, given a state dict and another network's; bytes are the whole file
    "tensors by name": lambda state, other: [state],
    "such tensors under a key": lambda state, other: [{"model": state}, {"ema": state}, {"a": {"b": state}}],
    "several such sets, one": lambda state, other: [
        {"ema": cast(state, torch.half), **{key: cast(state, torch.half) for key in later}, first: state}
        for first, *later in (USUAL, USUAL[1:], USUAL[2:], USUAL[3:])
    ],
    "several such sets under": lambda state, other: [
        {"a": state, "b": state}, behind("a.", state) | behind("b.", state)
    ],
    "every name behind": lambda state, other: [
        behind(prefix, state) for prefix in ("module.", "_orig_mod.", "model.net.", "student.", "encoder.")
    ],
    "other tensors beside": lambda state, other: [
        behind("student.", state) | behind("teacher.", other) | {"n_averaged": torch.ones(1)}
    ],
    "an epoch": lambda state, other: [state | OLD, {"model": state} | OLD],
    "auxiliary": lambda state, other: [state | {"aux1.fc.weight": torch.ones(3), "AuxLogits.fc.bias": torch.ones(1)}],
    "no `num_batches": lambda state, other: [{n: v for n, v in state.items() if not n.endswith("tracked")}],
    "`nn.Parameter`": lambda state, other: [{n: nn.Parameter(v, requires_grad=False) for n, v in state.items()}],
    "float16": lambda state, other: [cast(cast(state, torch.bfloat16), torch.float64), cast(state, torch.float64)],
    "numbers that are not": lambda state, other: [
        state | {"fc.bias": torch.full((3,), number, dtype=torch.float64)} for number in (torch.nan, -torch.inf, 1e300)
    ],
    "integers": lambda state, other: [cast(state, dtype) for dtype in (torch.int64, torch.bool, torch.complex64)],
    "a negative": lambda state, other: [state | {"bn1.running_var": -state["bn1.running_var"]}],
    "a classifier": lambda state, other: [
        state | {"fc.weight": torch.ones(7, 64), "fc.bias": torch.ones(7)},
        {n: v for n, v in state.items() if not n.startswith("fc.")},
    ],
    "any other": lambda state, other: [
        {n: v for n, v in state.items() if n != "bn1.weight"}, other, state | {"bn1.weight": torch.ones(7)}
    ],
    "a whole network": lambda state, other: [models.create("resnet8", 3)],
    "a truncated": lambda state, other: [b"", b"PK\x03\x04 half", b"version https://git-lfs.github.com", b"<html>"],
}  # fmt: skip


class Own(nn.Module):
    def __init__(self, channels=3):
        super().__init__()
        self.conv = nn.Conv2d(channels, 3, 1)

    def features(self, images):
        pooled = self.conv(images).mean((2, 3))
        return models.Features([], pooled, pooled)


def own_with_features(sets):
    network = Own()
    assert models.wrap(network) is network
    training.check_method(network, Own(), sets[0], "kd", 4)
    network.features = lambda images: 1 / 0
    refused(network, sets, "fails on images of")


def refused(network, sets, words):
    with pytest.raises(ValueError, match=words):
        training.train(network, *sets)


def small_maxvit(name, classes):
    widths, depths = {"stem_channels": 8, "block_channels": [8] * 4, "head_dim": 4}, {"block_layers": [1] * 4}
    sizes = {"input_size": (224, 224), "partition_size": 7, "stochastic_depth_prob": 0.0, "num_classes": classes}
    return models.wrap(torchvision.models.MaxVit(**widths, **depths, **sizes))


SMALLER = {"torchvision/maxvit_t": small_maxvit}  # which takes half a minute to create


def within_others(sets):
    network = models.create("resnet8", 3)
    for outer in (nn.DataParallel(network), torch.optim.swa_utils.AveragedModel(network), torch.compile(network)):
        assert isinstance(models.unwrapped(outer), type(network))
        training.check_method(outer, Own(), sets[0], "kd", 4)
    distributed = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)  # needs no processes
    nn.Module.__init__(distributed)
    distributed.module = network
    assert models.unwrapped(distributed) is network


NETWORKS = {
    "the course's own": ("resnet8", "ResNet50", "wrn_16_1", "vgg8", "MobileNetV2", "ShuffleV1", "ShuffleV2"),
    "`torchvision/...`": [f"torchvision/{name}" for name in ("resnet18", "mobilenet_v2", "vgg11")],
    "`torchvision/alexnet`": ["torchvision/alexnet"],
    "`torchvision/inception_v3`": ["torchvision/inception_v3"],
    "`torchvision/maxvit_t`": ["torchvision/maxvit_t"],
    "`torchvision/vit_...`": ["torchvision/vit_b_16"],
    "`torchvision/squeezenet...`": ["torchvision/squeezenet1_1"],
    "`timm/...`: ResNet": ["timm/resnet18", "timm/convnext_atto", "timm/efficientnet_b0"],
    "`timm/...`: ViT": ["timm/vit_tiny_patch16_224", "timm/swin_tiny_patch4_window7_224", "timm/mixer_s16_224"],
    "`timm/...`: LeViT": ["timm/levit_128", "timm/crossvit_9_240"],
    "your own with `features(": own_with_features,
    "your own without `": lambda sets: refused(
        nn.Sequential(nn.Conv2d(3, 3, 1)), sets, r"features\(images\) -> Features"
    ),
    "a network of one": lambda sets: refused(Own(1), sets, "takes 1 channels"),
    "any of these": within_others,
}


def only(table, row):
    (found,) = [value for start, value in table.items() if row.startswith(start)]
    return found


def test_every_row_has_its_test_and_every_test_its_row():
    for section, table in (("Checkpoints", CHECKPOINTS), ("Networks", NETWORKS)):
        assert len(rows(section)) == len(table)
        for row in rows(section):
            only(table, row)


@pytest.mark.parametrize(("row", "outcome"), rows("Checkpoints").items(), ids=str)
def test_a_checkpoint_does_what_the_page_says(tmp_path, capsys, row, outcome):
    source, other = models.create("resnet8", 3, seed=1), models.create("resnet14", 3, seed=1)
    path, exact = tmp_path / "file.pth", not outcome.startswith("converted")
    for content in only(CHECKPOINTS, row)(source.state_dict(), other.state_dict()):
        path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
        network = models.create("resnet8", 3, seed=2)
        if outcome.startswith("refused"):
            with pytest.raises(ValueError, match="file.pth"):
                models.load_weights(network, path)
            assert torch.equal(network.conv1.weight, models.create("resnet8", 3, seed=2).conv1.weight)
        if "replace_head=True" in outcome:
            models.load_weights(network, path, replace_head=True)
            assert torch.equal(network.fc.weight, models.create("resnet8", 3, seed=2).fc.weight)
        elif outcome.startswith("refused"):
            continue
        else:
            models.load_weights(network, path)
        torch.testing.assert_close(network.conv1.weight, source.conv1.weight, rtol=0 if exact else 1e-2, atol=0)
        assert outcome != "left out" or "resnet8: weights of" in capsys.readouterr().out


@pytest.mark.parametrize(("row", "outcome"), rows("Networks").items(), ids=str)
def test_a_network_does_what_the_page_says(tiny_sets, row, outcome):
    subject = only(NETWORKS, row)
    for name in () if callable(subject) else subject:
        if name.startswith("timm"):
            pytest.importorskip("timm")
        with torch.device("meta"):
            if outcome.startswith("refused"):
                with pytest.raises(ValueError, match="linear"):
                    models.create(name, 3)
                continue
            network = SMALLER.get(name, models.create)(name, 3).eval()
            side = int((re.match(r"\d+", outcome) or re.search(r"\d{3}", name))[0])
            for taken in (side, side + 16, 2 * side) if "more" in outcome else (side,):
                assert network(torch.zeros(2, 3, taken, taken)).shape == (2, 3)
            if side > 32:
                with pytest.raises(ValueError, match=f"--side {side},"):
                    network(torch.zeros(2, 3, 32, 32))
            if option := re.search(r"(\w+)=32", outcome):
                created = models.create(name, 3, **{option[1]: 32})
                assert created.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 3)
    if callable(subject):
        subject(tiny_sets)
