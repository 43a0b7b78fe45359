import pickle

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


@pytest.mark.parametrize("content", [pickle.dumps({"model": Attack()}), b"", b"PK\x03\x04 half a file"])
def test_code_and_damaged_files_are_refused(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(ValueError, match="bad.pth"):
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
