"""Linear probes of a teacher and its students: each once, each recorded, and nothing trained in vain."""

from dataclasses import replace

import pytest
import torch

from dcd_utils import experiments, training
from dcd_utils.data import ImageSet
from dcd_utils.experiments import transfer as module
from dcd_utils.experiments.transfer import transfer
from dcd_utils.records import read_record
from dcd_utils.training import stages

FAST = training.Recipe(epochs=1, batch_size=16, schedule="one_cycle", milestones=(), precision="fp32")
SMALL = experiments.Profile("small", "shapes", None, "resnet14", "resnet8", FAST, FAST, 7, (3, 4), 50)


@pytest.fixture
def target():
    """(train, test) of 48 and 16 images of 4 classes, told apart by how bright they are."""

    def make(size, seed):
        labels = torch.arange(size) % 4
        noise = torch.randint(0, 60, (size, 3, 16, 16), generator=torch.Generator().manual_seed(seed))
        images = (60 * labels.reshape(-1, 1, 1, 1) + noise).to(torch.uint8)
        return ImageSet(images, labels, tuple("abcd"), (0.5,) * 3, (0.25,) * 3, name="brightness")

    return make(48, 5), make(16, 6)


def test_every_network_is_probed_once_and_recorded(tiny, target, tmp_path, monkeypatch, capsys):
    methods = ["random", "alone", "DCD", "dcd"]
    [folder] = transfer(SMALL, methods, *tiny, {"light": target}, tmp_path)
    assert folder == tmp_path / "transfer-tiny-light"
    records = {path.stem.rpartition("-")[0]: read_record(path) for path in folder.iterdir()}
    names = ["random-seed3", "random-seed4", "alone-seed3", "alone-seed4", "dcd-seed3", "dcd-seed4", "teacher-seed7"]
    assert records.keys() == {f"resnet14-resnet8-{name}" for name in names}
    record = records["resnet14-resnet8-dcd-seed4"]
    assert record["kind"] == "probe" and record["state"] == "finished" and record["versions"]["torch"]
    assert record["data"] == {"name": "tiny", "target": "light", "train": 48, "test": 16, "classes": 4}
    assert 0 <= record["accuracy"] <= 100 and record["train_accuracy"] > 25 and record["C"] > 0
    assert record["config"]["run"]["method"] == "dcd" and record["config"]["run"]["seed"] == record["seed"] == 4
    assert record["config"]["train"] == target[0].digest() and record["config"]["test"] == target[1].digest()

    table = experiments.read_results(folder)
    assert list(dict.fromkeys(table.method)) == ["random", "teacher", "alone", "dcd"] and table.group.nunique() == 1
    assert table.source_accuracy.isna().sum() == 2, "an untrained network has no accuracy on the source"
    teacher, students = experiments.course_runs(SMALL, ("alone", "dcd"), *tiny)
    source = table.set_index(["method", "seed"]).source_accuracy
    assert source["dcd", 4] == students["dcd", 4].accuracy and source["teacher", 7] == teacher.accuracy

    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    monkeypatch.setattr(module.analysis, "linear_probe", lambda *_, **__: pytest.fail("probed again"))
    capsys.readouterr()
    transfer(SMALL, methods, *tiny, {"light": target}, tmp_path)
    assert times == {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert capsys.readouterr().out.count("probed before with exactly this config") == 7


def test_probes_of_another_recipe_lie_beside_the_others_and_are_not_averaged_with_them(tiny, target, tmp_path):
    once = replace(SMALL, seeds=(3,))
    [folder] = transfer(once, ["alone"], *tiny, {"light": target}, tmp_path)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    transfer(replace(once, recipe=FAST.but(epochs=2)), ["alone"], *tiny, {"light": target}, tmp_path)
    assert before == {path: path.read_bytes() for path in before} and len(list(folder.iterdir())) == 3
    table = experiments.read_results(folder)
    alone = table[table.method == "alone"]
    assert sorted(alone.epochs) == [1, 2] and alone.group.nunique() == 2
    assert experiments.report(folder).count("| teacher |") == 2, "it serves both"


def test_several_targets_have_a_folder_each(tiny, target, tmp_path):
    other = tuple(replace(images, images=255 - images.images) for images in target)
    source = [replace(images, name="my tiny") for images in tiny]
    folders = transfer(replace(SMALL, seeds=(3,)), [], *source, {"light": target, "dark": other}, tmp_path)
    assert [folder.name for folder in folders] == ["transfer-my_tiny-light", "transfer-my_tiny-dark"]
    assert [len(list(folder.iterdir())) for folder in folders] == [1, 1], "the teacher is always probed"


def test_what_cannot_work_is_told_before_anything_is_trained(tiny, target, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "fit", lambda *_: pytest.fail("trained"))
    wide = replace(SMALL, teacher="resnet8x4")
    for profile, methods, targets, words in (
        (SMALL, ["dcb"], {"light": target}, 'method "dcb" does not exist'),
        (wide, ["fsp"], {"light": target}, "channels"),
        (SMALL, ["kd"], {"light": target, "same": tiny}, 'target "same": .* choose another data set'),
        (replace(SMALL, student="resnet9"), ["kd"], {"light": target}, "resnet8, resnet14"),
    ):
        with pytest.raises(ValueError, match=words):
            transfer(profile, methods, *tiny, targets, tmp_path / "r")
    assert not (tmp_path / "r").exists()
