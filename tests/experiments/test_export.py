"""A student as a file: each format is read back as a stranger would, with nothing of the package."""

import json
import sys

import pytest
import torch
from torch import nn

from dcd_utils import experiments, models, training
from dcd_utils.__main__ import main
from dcd_utils.experiments.export import FORMATS, _Normalised
from dcd_utils.records import read_record, write_record

FAST = training.Recipe(epochs=1, batch_size=16, schedule="one_cycle", milestones=(), precision="fp32")


@pytest.fixture
def distilled(tiny_sets):
    teacher = models.create("resnet14", 3, seed=0)
    return training.distill(models.create("resnet8", 3, seed=1), teacher, *tiny_sets, "kd", FAST)


def unit_images(image_set, count):
    """Images as a camera gives them, [B, 3, H, W] in 0..1."""
    return image_set.images[:count].float() / 255


def as_onnx(path, images):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["logits"]
    about = session.get_modelmeta().custom_metadata_map
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0]), about


def as_safetensors(path, images):
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        about = file.metadata()
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dictionary
    network = models.create(about["network"], len(json.loads(about["classes"])), **json.loads(about["options"])).eval()
    network.load_state_dict(state)
    mean, std = (torch.tensor(json.loads(about[name])).view(3, 1, 1) for name in ("mean", "std"))
    return network((images - mean) / std), about


READERS = {"onnx": as_onnx, "safetensors": as_safetensors}


@pytest.mark.filterwarnings("ignore")  # PyTorch's of its own future
@pytest.mark.parametrize("to", FORMATS)
def test_the_file_answers_as_the_trained_network_for_any_number_of_images(distilled, tiny_sets, tmp_path, to):
    exported = experiments.export(distilled, to)
    assert exported.path == tmp_path / "data" / "exports" / f"{distilled.run_dir.name}.{to}"
    for count in (1, 5):
        with torch.no_grad():
            logits, about = READERS[to](exported.path, unit_images(tiny_sets[1], count))
            expected = distilled.model(tiny_sets[1].batch(torch.arange(count)))
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    assert json.loads(about["classes"]) == ["a", "b", "c"] and json.loads(about["size"]) == [16, 16]
    assert about["network"] == "resnet8" and ("mean" in about["input"]) == (to == "safetensors")
    assert exported.difference < 1e-3 and list(exported.networks) == ["student", "teacher"]
    (student, size, ms), (teacher, teacher_size, _) = exported.networks.values()
    assert (student, teacher) == ("resnet8", "resnet14") and size == exported.path.stat().st_size < teacher_size
    assert ms > 0 and "times as fast" in str(exported)


def test_a_run_is_exported_by_its_folder(distilled, tmp_path, capsys):
    there = tmp_path / "elsewhere" / "mine"
    assert main(["export", str(distilled.run_dir), "--to", "safetensors", "--output", str(there)]) == 0
    said = capsys.readouterr().out
    assert f'kept at "{there}"' in said and "teacher  resnet14" in said
    assert models.load_weights(models.create("resnet8", 3), there)


def test_a_network_that_had_no_teacher_stands_alone(tiny_sets):
    run = training.train(models.create("resnet8", 3, seed=0), *tiny_sets, FAST)
    exported = experiments.export(run.run_dir, "safetensors")
    assert list(exported.networks) == ["network"] and "teacher" not in str(exported)


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.classifier = nn.Linear(3, 3)

    def features(self, images):
        pooled = images.mean((2, 3))
        return models.Features([], pooled, self.classifier(pooled))

    def forward(self, images):
        return self.features(images).logits


@pytest.mark.filterwarnings("ignore")  # PyTorch's of its own future
def test_a_network_of_ones_own_is_exported_as_the_run_that_training_returned(tiny_sets, tmp_path):
    run = training.distill(Own(), Own(), *tiny_sets, "kd", FAST)
    exported = experiments.export(run, "onnx")
    assert list(exported.networks) == ["student"], "nobody can build its teacher here"
    with torch.no_grad():
        logits, about = as_onnx(exported.path, unit_images(tiny_sets[1], 4))
    torch.testing.assert_close(logits, run.model(tiny_sets[1].batch(torch.arange(4))).detach())
    assert about["network"] == "Own"
    with pytest.raises(ValueError, match="only your code can build it. Pass the Run"):
        experiments.export(run.run_dir, "onnx")


class Tied(Own):
    def __init__(self):
        super().__init__()
        self.again = self.classifier


@pytest.mark.parametrize("to", ["onnx", "safetensors"])
@pytest.mark.filterwarnings("ignore")  # PyTorch's of its own future
def test_weights_that_two_layers_share_are_exported(tiny_sets, tmp_path, to):
    run = training.train(Tied(), *tiny_sets, FAST)
    assert experiments.export(run, to, tmp_path / "file").difference < 1e-4


def test_what_cannot_be_exported_leaves_no_file(distilled, tmp_path, monkeypatch):
    there = tmp_path / "file"
    with pytest.raises(ValueError, match="onnx, safetensors"):
        experiments.export(distilled, "tflite", there)
    for wrong in (tmp_path, tmp_path / "student.safetensors"):
        with pytest.raises(ValueError, match="for a file of onnx: name a file that ends in .onnx"):
            experiments.export(distilled, "onnx", wrong)
    with pytest.raises(ValueError, match="no folder of a run"):
        experiments.export(tmp_path, "safetensors", there)
    with pytest.raises(ValueError, match="no folder of a run"):
        experiments.export(tmp_path / "nowhere", "safetensors", there)

    monkeypatch.setattr(_Normalised, "forward", lambda self, images: images[{}])
    with pytest.raises(ValueError, match='"resnet8" cannot be written as onnx .*: try another of onnx'):
        experiments.export(distilled, "onnx", there)
    monkeypatch.undo()

    path = distilled.run_dir / "result.json"
    record = read_record(path)
    write_record(path, record | {"state": "running"})
    with pytest.raises(ValueError, match="is running: only a finished one"):
        experiments.export(distilled.run_dir, "safetensors", there)
    old = {name: record["data"][name] for name in ("name", "train", "test")}
    write_record(path, record | {"data": old})
    with pytest.raises(ValueError, match="of an older version"):
        experiments.export(distilled.run_dir, "safetensors", there)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match="pip install onnx onnxruntime onnxscript"):
        experiments.export(distilled, "onnx", there)
    assert not there.exists()


def test_a_file_that_answers_otherwise_is_not_written(distilled, tmp_path, monkeypatch):
    def shifted(*arguments, original=FORMATS["safetensors"]):
        content, answer = original(*arguments)
        return content, lambda images: answer(images) + 0.1

    monkeypatch.setitem(FORMATS, "safetensors", shifted)
    with pytest.raises(RuntimeError, match="differ by 0.1"):
        experiments.export(distilled, "safetensors", tmp_path / "file")
    assert not (tmp_path / "file").exists()
