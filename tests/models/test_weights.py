import argparse
import pickle

import numpy as np
import pytest
import torch

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
