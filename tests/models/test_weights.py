import argparse
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dcd_utils import models


def outputs(model):
    return model.eval()(torch.ones(1, 3, 32, 32))


def test_reads_published_files_bare_dicts_and_safetensors(tmp_path):
    source = models.create("resnet8", 10, seed=1)
    torch.save({"model": source.state_dict(), "epoch": 240}, tmp_path / "published.pth")
    torch.save(source.state_dict(), tmp_path / "bare.pth")
    models.save_weights(source, tmp_path / "weights.safetensors")
    for path in (tmp_path / "published.pth", tmp_path / "bare.pth", tmp_path / "weights.safetensors", tmp_path):
        loaded = models.load_weights(models.create("resnet8", 10, seed=2), path)
        assert torch.equal(outputs(loaded), outputs(source))


def test_an_accuracy_of_numpy_beside_the_weights_is_read_over(tmp_path):
    source = models.create("resnet8", 10, seed=1)
    torch.save({"model": source.state_dict(), "best_acc": np.float64(71.2), "n": np.int64(3)}, tmp_path / "best.pth")
    loaded = models.load_weights(models.create("resnet8", 10, seed=2), tmp_path / "best.pth")
    assert torch.equal(outputs(loaded), outputs(source))


def test_weights_that_are_not_finite_are_refused(tmp_path):
    source = models.create("resnet8", 10, seed=1)
    source.fc.bias.data[3] = float("nan")
    models.save_weights(source, tmp_path / "diverged.safetensors")
    with pytest.raises(ValueError, match="numbers that are not finite, in fc.bias"):
        models.load_weights(models.create("resnet8", 10), tmp_path / "diverged.safetensors")


def test_what_does_not_fit_is_listed_and_changes_nothing(tmp_path):
    torch.save({"model": models.create("resnet14", 20).state_dict()}, tmp_path / "other.pth")
    model = models.create("resnet8", 10, seed=0)
    before = outputs(model)
    with pytest.raises(
        ValueError, match=r"unexpected: layer1.1.*of another shape: fc.weight \(20, 64\) instead of \(10, 64\)"
    ):
        models.load_weights(model, tmp_path / "other.pth")
    assert torch.equal(outputs(model), before)


class Attack:
    def __reduce__(self):
        return (open, ("attacked", "w"))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_command_line_beside_the_weights_is_read_over(tmp_path, zipped):
    source = models.create("ShuffleV2", 10, seed=1)
    options = argparse.Namespace(model="ShuffleV2", learning_rate=0.01, lr_decay_epochs=[150, 180, 210], trial="0")
    published = {
        "opt": options,
        "model": source.state_dict(),
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
    }
    torch.save(published, tmp_path / "ShuffleV2_last.pth", _use_new_zipfile_serialization=zipped)
    loaded = models.load_weights(models.create("ShuffleV2", 10, seed=2), tmp_path / "ShuffleV2_last.pth")
    assert torch.equal(outputs(loaded), outputs(source))
    assert argparse.Namespace not in torch.serialization.get_safe_globals(), "allowed for this one file only"


def test_code_inside_a_command_line_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = models.create("resnet8", 10, seed=0)
    before = outputs(model)
    torch.save({"opt": argparse.Namespace(hidden=Attack()), "model": model.state_dict()}, tmp_path / "last.pth")
    with pytest.raises(ValueError, match=r"last.pth.*carries more than tensors.*it would call _?io.open") as refusal:
        models.load_weights(model, tmp_path / "last.pth")
    assert "Re-running" not in str(refusal.value), "no advice to run the code after all"
    assert not (tmp_path / "attacked").exists() and torch.equal(outputs(model), before)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95, 0.999])
def test_a_truncated_file_is_refused_and_changes_nothing(tmp_path, zipped, kept):
    path = tmp_path / "half.pth"
    torch.save(
        {"model": models.create("resnet8", 10, seed=1).state_dict()}, path, _use_new_zipfile_serialization=zipped
    )
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    model = models.create("resnet8", 10, seed=0)
    before = outputs(model)
    with pytest.raises(ValueError, match=r"half.pth.*truncated"):
        models.load_weights(model, path)
    assert torch.equal(outputs(model), before)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps({"model": Attack()}, 2), "it would call .*open"),
        (pickle.dumps({"model": Attack()}), ""),
        (b"", ""),
        (b"PK\x03\x04 half a file", ""),
        (b"early to bed", "not a file of PyTorch's"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_code_and_damaged_files_are_refused(tmp_path, monkeypatch, content, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(ValueError, match=f"bad.pth.*{words}"):
        models.load_weights(models.create("resnet8", 10), tmp_path / "bad.pth")
    assert not (tmp_path / "attacked").exists()


def test_truncated_safetensors_and_missing_files(tmp_path):
    path = tmp_path / "weights.safetensors"
    models.save_weights(models.create("resnet8", 10), path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="cannot be read"):
        models.load_weights(models.create("resnet8", 10), path)
    with pytest.raises(FileNotFoundError, match="no weights"):
        models.load_weights(models.create("resnet8", 10), tmp_path / "nowhere.pth")
    torch.save({"model": [1, 2]}, tmp_path / "list.pth")
    with pytest.raises(ValueError, match="no state dict"):
        models.load_weights(models.create("resnet8", 10), tmp_path / "list.pth")
    torch.save({"model": {0: torch.ones(2)}}, tmp_path / "numbered.pth")
    with pytest.raises(ValueError, match="no state dict"):
        models.load_weights(models.create("resnet8", 10), tmp_path / "numbered.pth")


def test_another_family_or_number_of_classes_is_named(tmp_path):
    torch.save({"model": models.create("vgg8", 100).state_dict()}, tmp_path / "vgg8.pth")
    with pytest.raises(ValueError, match=r"does not fit this ShuffleV1: .*missing: conv1.weight.*unexpected: block0.0"):
        models.load_weights(models.create("ShuffleV1", 100), tmp_path / "vgg8.pth")
    with pytest.raises(ValueError, match=r"classifier.weight \(100, 512\) instead of \(10, 512\).*num_classes"):
        models.load_weights(models.create("vgg8", 10), tmp_path / "vgg8.pth")


# Files as others write them


@pytest.fixture
def source():
    network = models.create("resnet8", 10, seed=1)
    network.train()(torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0)))  # running statistics
    return network


def load(content, path, network=None, **options):
    torch.save(content, path)
    return models.load_weights(network or models.create("resnet8", 10, seed=2), path, **options)


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (lambda state: {"state_dict": state, "epoch": 3, "state_dict_ema": state}, 'from "state_dict"'),
        (lambda state: {"network": {"weights": state}, "optimizer": {"state": {0: state}}}, 'from "network/weights"'),
        (lambda state: {**state, "epoch": 3, "optimizer": {}}, "leaving out epoch, optimizer"),
        (lambda state: {f"module.{n}": v for n, v in state.items()}, 'without the prefix "module."'),
        (lambda state: {"model": {f"_orig_mod.module.net.{n}": v for n, v in state.items()}},
         'from "model", without the prefix "_orig_mod.module.net."'),
        (lambda state: {"n_averaged": torch.tensor(7), **{f"module.{n}": v for n, v in state.items()}},
         'without the prefix "module.", leaving out n_averaged'),
        (lambda state: {"state_dict": {f"student.{n}": v for n, v in state.items()}
                        | {f"teacher.{n}": v for n, v in models.create("resnet14", 10).state_dict().items()}},
         'without the prefix "student.", leaving out teacher.conv1.weight'),
        (lambda state: {n: v for n, v in state.items() if "tracked" not in n}, "with num_batches_tracked=0"),
        (lambda state: {"aux.fc.weight": torch.ones(2, 2), **state}, "leaving out aux.fc.weight"),
        (lambda state: {n: nn.Parameter(v) if v.is_floating_point() else v for n, v in state.items()}, ""),
        (lambda state: {n: v.double() if v.is_floating_point() else v for n, v in state.items()}, ""),
        (lambda state: state, ""),
    ],
)  # fmt: skip
def test_weights_are_found_where_others_put_them_and_it_is_said(source, tmp_path, capsys, wrap, said):
    loaded = load(wrap(source.state_dict()), tmp_path / "file.pth")
    printed = capsys.readouterr().out
    assert torch.equal(outputs(loaded), outputs(source))
    assert said in printed and printed.startswith(f'resnet8: weights of "{tmp_path / "file.pth"}" ' * bool(said))
    assert len(printed.splitlines()) == bool(said)
    fresh = "num_batches" in said
    assert all(int(v) == 1 - fresh for n, v in loaded.state_dict().items() if n.endswith("num_batches_tracked"))


def test_old_files_without_counters_count_from_0_whatever_the_network_did_before(source, tmp_path):
    state = {name: value for name, value in source.state_dict().items() if "tracked" not in name}
    assert int(load(state, tmp_path / "old.pth", source).bn1.num_batches_tracked) == 0


def test_what_does_not_fit_is_said_of_the_best_reading(source, tmp_path):
    state = {f"module.{name}": value for name, value in source.state_dict().items() if name != "bn1.weight"}
    with pytest.raises(ValueError, match=r'"module."\) does not fit this resnet8: 1 missing: bn1.weight. Check'):
        load({"state_dict": state, "ema": {"bn1.weight": torch.ones(16)}}, tmp_path / "lacking.pth")
    pair = {f"{role}.{name}": value for role in ("a", "b") for name, value in source.state_dict().items()}
    for content in (pair, {"teacher": source.state_dict(), "student": source.state_dict()}):
        with pytest.raises(ValueError, match="in several ways .*, or .*: pass a file that holds one of them"):
            load(content, tmp_path / "pair.pth")
    endless = {"epoch": 3}
    endless["self"] = endless
    with pytest.raises(ValueError, match="no state dict"):
        load(endless, tmp_path / "endless.pth")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("fc.weight", torch.full((10, 64), 1e300, dtype=torch.float64), "numbers that are not finite"),
        ("fc.weight", torch.ones(10, 64, dtype=torch.int64), r"numbers of another type \(torch.int64"),
        ("fc.weight", torch.ones(10, 64, dtype=torch.bool), r"numbers of another type \(torch.bool"),
        ("fc.weight", torch.ones(10, 64, dtype=torch.complex64), r"numbers of another type \(torch.complex64"),
        ("fc.weight", torch.ones(10, 64).to_sparse(), "numbers of another type .*sparse"),
        ("fc.weight", torch.ones(10, 64, device="meta"), "numbers of another type"),
        ("bn1.num_batches_tracked", torch.tensor(0.5), "numbers of another type"),
        ("bn1.running_var", -torch.ones(16), "negative variances"),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse")
def test_numbers_that_no_training_leaves_are_refused(source, tmp_path, name, value, words):
    network = models.create("resnet8", 10, seed=2)
    before = outputs(network)
    with pytest.raises(ValueError, match=f"holds {words}.*, in {name}: choose another file"):
        load({**source.state_dict(), name: value}, tmp_path / "odd.pth", network)
    assert torch.equal(outputs(network), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_converted(source, tmp_path, dtype):
    state = {n: v.to(dtype) if v.is_floating_point() else v for n, v in source.state_dict().items()}
    loaded = load(state, tmp_path / "file.pth")
    assert loaded.conv1.weight.dtype == torch.float32
    assert torch.equal(loaded.conv1.weight, source.conv1.weight.to(dtype).float())


@pytest.mark.parametrize("name", ["resnet8", "vgg8", "MobileNetV2", "ShuffleV1", "torchvision/resnet18"])
@pytest.mark.parametrize("has_head", [True, False])
def test_a_head_of_another_width_is_replaced_on_demand(tmp_path, capsys, name, has_head):
    source, network = models.create(name, 20, seed=1), models.create(name, 10, seed=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    head = [name for name, value in source.state_dict().items() if value.shape != before[name].shape]
    state = {name: value for name, value in source.state_dict().items() if has_head or name not in head}
    with pytest.raises(ValueError, match=f"{'of another shape' if has_head else 'missing'}: .*or replace_head=True"):
        load(state, tmp_path / "file.pth", network)
    assert load({"model": state}, tmp_path / "file.pth", network, replace_head=True) is network
    assert f'from "model", keeping the network\'s own {", ".join(head)}' in capsys.readouterr().out
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name] if name in head else state[name])


def test_replace_head_replaces_nothing_but_the_head(source, tmp_path):
    narrow = {"layer1.0.conv1.weight": torch.ones(8, 16, 3, 3), "layer1.0.conv2.weight": torch.ones(16, 8, 3, 3)}
    for change in (narrow, {"fc.weight": torch.ones(20, 32)}, {"bn1.weight": torch.ones(8)}):
        with pytest.raises(ValueError, match="of another shape: .*num_classes$"):
            load({**source.state_dict(), **change}, tmp_path / "file.pth", replace_head=True)
    for missing in ("layer1.0.conv1.weight", "bn1.weight"):
        state = {name: value for name, value in source.state_dict().items() if name != missing}
        with pytest.raises(ValueError, match=f"1 missing: {missing}. Check the architecture and num_classes$"):
            load(state, tmp_path / "file.pth", replace_head=True)
    with pytest.raises(ValueError, match="unexpected"):
        load(models.create("resnet14", 20).state_dict(), tmp_path / "file.pth", replace_head=True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
            "a pointer of Git LFS.*git lfs pull",
        ),
        (b"\n<!DOCTYPE html>\n<html><title>Sign in</title></html>", "a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a web page"),
        (b"", "the file is empty"),
    ],
)
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_what_lies_there_instead_of_weights_is_named(tmp_path, content, words, ending):
    (tmp_path / f"file.{ending}").write_bytes(content)
    with pytest.raises(ValueError, match=f"file.{ending}.*{words}"):
        models.load_weights(models.create("resnet8", 10), tmp_path / f"file.{ending}")


def test_a_folder_without_weights_and_a_safetensors_file_of_another_name(source, tmp_path):
    with pytest.raises(FileNotFoundError, match="weights.safetensors.*finished run"):
        models.load_weights(source, tmp_path)
    models.save_weights(source, tmp_path / "pytorch_model.bin")
    loaded = models.load_weights(models.create("resnet8", 10, seed=2), tmp_path / "pytorch_model.bin")
    assert torch.equal(outputs(loaded), outputs(source))


def test_numbers_of_an_older_numpy_and_paths_beside_the_weights_are_read_over(source, tmp_path):
    arguments = argparse.Namespace(data=Path("images"))
    content = {"args": arguments, "best": np.float64(71.2), "model": source.state_dict()}
    torch.save(content, tmp_path / "new.pth", _use_new_zipfile_serialization=False)
    written = (tmp_path / "new.pth").read_bytes().replace(b"numpy._core", b"numpy.core")  # numpy before version 2
    for moved in (written, written.replace(b"numpy.core", b"numpy._core").replace(b"cpathlib\n", b"cpathlib._local\n")):
        (tmp_path / "old.pth").write_bytes(moved)
        loaded = models.load_weights(models.create("resnet8", 10, seed=2), tmp_path / "old.pth")
        assert torch.equal(outputs(loaded), outputs(source))


def wrapped(network):
    compiled = torch.compile(network)
    return [compiled, nn.DataParallel(network), nn.DataParallel(compiled), torch.optim.swa_utils.AveragedModel(network)]


def test_a_wrapped_network_is_saved_and_loaded_under_plain_names(source, tmp_path, capsys):
    models.save_weights(source, tmp_path / "plain.safetensors")
    for index, wrapper in enumerate(wrapped(source)):
        models.save_weights(wrapper, tmp_path / f"{index}.safetensors")
        assert (tmp_path / f"{index}.safetensors").read_bytes() == (tmp_path / "plain.safetensors").read_bytes()
    for wrapper in wrapped(models.create("resnet8", 10, seed=2)):
        assert models.load_weights(wrapper, tmp_path / "plain.safetensors") is wrapper
        assert torch.equal(models.unwrapped(wrapper).conv1.weight, source.conv1.weight)
    assert models.unwrapped(source) is source and not capsys.readouterr().out


def test_layers_that_share_a_weight_are_saved(tmp_path):
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    models.save_weights(network, tmp_path / "tied.safetensors")
    other = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    assert torch.equal(models.load_weights(other, tmp_path / "tied.safetensors")[1].weight, network[0].weight)
