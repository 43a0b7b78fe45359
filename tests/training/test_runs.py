"""A run's folder: whole or absent, noticed where it is damaged, taken up where it stopped."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from small import FAST, Stop, numbers, same_rows, stop_at, student

from dcd_utils import files, losses, models, training
from dcd_utils.records import read_record
from dcd_utils.training import loop, runs, stages

FILES = ("result.json", "weights.safetensors", "losses.pt")


@pytest.fixture
def distilled(tiny_sets, tmp_path):
    """Distil into a folder, or load what is there: folder name -> run."""

    def distil(name="run", method="dcd", epochs=1, network="resnet8"):
        pair = models.create(network, 3, seed=0), models.create("resnet14", 3, seed=5)
        recipe = FAST.but(epochs=epochs, learning_rate=0.02)
        return training.distill(*pair, *tiny_sets, method, recipe, run_dir=tmp_path / name, cache="off")

    return distil


def never(*arguments, **named):
    raise AssertionError("must not be called")


def damages(content):
    """Yield (how, content): emptied, cut off, and with one bit of forty places fallen over."""
    for length in (0, 1, len(content) // 3, len(content) - 1):
        yield f"cut to {length} bytes", content[:length]
    for count in range(40):
        flipped = bytearray(content)
        place = (len(content) - 1) * count // 39
        flipped[place] ^= 1 << (count % 8)
        yield f"bit {count % 8} of byte {place}", bytes(flipped)


def test_a_run_is_a_whole_folder(distilled, tmp_path):
    run = distilled(epochs=2)
    assert run.run_dir == tmp_path / "run" and {path.name for path in run.run_dir.iterdir()} == {*FILES}
    record = read_record(run.run_dir / "result.json")
    assert record == run.record and record["state"] == "finished" and record["kind"] == "distill"
    assert record["accuracy"] == run.accuracy and record["best_accuracy"] == run.best_accuracy
    assert record["history"] == run.rows and record["config"] == run.config
    assert record["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert record["files"] == {name: files.sha256(run.run_dir / name) for name in FILES[1:]}
    assert run.config["teacher"]["name"] == "resnet14" and run.config["network"].keys() >= {
        "name",
        "options",
        "weights",
    }
    pd.testing.assert_frame_equal(pd.DataFrame(run.rows), run.history)
    assert run.seconds == run.history.seconds.sum()
    assert torch.equal(numbers(models.load_weights(student(5), run.run_dir)), numbers(run.model))


def test_on_windows_a_checkpoint_that_somebody_reads_is_removed_later(distilled, tmp_path, monkeypatch):
    unlink, refused = Path.unlink, []

    def in_use(path, **settings):
        if path.name == "checkpoint-1.pt" and not refused:
            refused.append(path)
            raise PermissionError(13, "The process cannot access the file because it is being used by another process")
        unlink(path, **settings)

    monkeypatch.setattr(Path, "unlink", in_use)
    assert len(distilled(epochs=3).rows) == 3 and refused
    assert {path.name for path in (tmp_path / "run").iterdir()} == {*FILES}


def test_a_run_without_a_folder_of_its_own_is_named_by_its_config(tiny_sets):
    run = training.train(student(), *tiny_sets, FAST.but(epochs=1))
    assert run.run_dir.parent == files.data_dir() / "runs" and run.run_dir.name.startswith("resnet8-alone-seed0-")
    assert not (run.run_dir / "losses.pt").exists(), "nothing was learned beside the network"


def test_the_record_is_there_from_the_first_moment(distilled, tmp_path, monkeypatch):
    states = []
    for count in (1, 2):
        with monkeypatch.context() as patch, pytest.raises(Stop):
            stop_at(patch, loop, "train_epoch", count if count == 1 else 2)
            distilled(epochs=2)
        states.append(read_record(tmp_path / "run/result.json"))
    assert [(state["state"], len(state["history"]), [*state["files"]]) for state in states] == [
        ("running", 0, []), ("running", 1, ["checkpoint-1.pt"])
    ]  # fmt: skip
    assert states[1]["files"]["checkpoint-1.pt"] == files.sha256(tmp_path / "run/checkpoint-1.pt")


def test_a_folder_of_another_run_is_refused_and_left_alone(distilled, tmp_path):
    distilled()
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    why = "No run goes on to another number of epochs: it decides the learning rate of every step"
    with pytest.raises(ValueError, match=f"epochs is 1 there and 3 here. {why}. Choose another run_dir, or none"):
        distilled(epochs=3)
    with pytest.raises(ValueError, match="network.name is 'resnet8' there and 'resnet14' here") as refused:
        distilled(network="resnet14")
    assert "another run: network.name" in str(refused.value) and why not in str(refused.value)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("precious", encoding="utf-8")
    with pytest.raises(ValueError, match="not a run: choose another run_dir"):
        distilled("other")
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.tex"]


def test_a_finished_run_is_loaded_without_writing_anything(distilled, monkeypatch):
    first = distilled()
    monkeypatch.setattr(runs, "FileLock", never)
    monkeypatch.setattr(files, "write_whole", never)
    monkeypatch.setattr(files, "remove_partials", never)
    again = distilled()
    assert torch.equal(numbers(again.model, again.objective), numbers(first.model, first.objective))


# Damage


@pytest.mark.parametrize("name", FILES[:2])
def test_damage_to_a_finished_run_is_noticed_and_the_advice_mends_it(distilled, tmp_path, monkeypatch, name):
    run = distilled()
    path, whole = run.run_dir / name, (run.run_dir / name).read_bytes()
    advice = f'delete the folder "{run.run_dir}" to train this run anew'
    with monkeypatch.context() as patch:
        patch.setattr(stages, "fit", never)
        for how, content in damages(whole):
            path.write_bytes(content)
            try:
                again = distilled()
            except ValueError as error:
                assert str(path) in str(error) and advice in str(error), how
            else:  # a small e as a large one, in a number
                assert name == "result.json" and again.record == run.record, how
        path.unlink()
        with pytest.raises(ValueError, match=f'{name}" is missing: delete the folder'):
            distilled()
    shutil.rmtree(run.run_dir)
    assert torch.equal(numbers(distilled().model), numbers(run.model))


def test_damage_to_what_the_losses_learned_stops_only_who_asks_for_it(distilled, monkeypatch):
    run = distilled()
    path, whole = run.run_dir / "losses.pt", (run.run_dir / "losses.pt").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(stages, "fit", never)
        for how, content in [*damages(whole), ("deleted", None)]:
            path.unlink() if content is None else path.write_bytes(content)
            again = distilled()
            assert torch.equal(numbers(again.model), numbers(run.model)) and again.accuracy == run.accuracy, how
            with pytest.raises(ValueError, match="the model is whole; delete the folder") as error:
                print(again.objective)
            assert str(path) in str(error.value), how
    shutil.rmtree(run.run_dir)
    assert torch.equal(numbers(distilled().objective), numbers(run.objective))


def test_damage_to_a_checkpoint_is_noticed_and_the_advice_mends_it(distilled, tmp_path, monkeypatch):
    whole = distilled("whole", epochs=2)
    with monkeypatch.context() as patch, pytest.raises(Stop):
        stop_at(patch, loop, "train_epoch", 2)
        distilled(epochs=2)
    path = tmp_path / "run" / "checkpoint-1.pt"
    content = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(stages, "fit", never)
        for how, damaged in [*damages(content), ("deleted", None)]:
            path.unlink() if damaged is None else path.write_bytes(damaged)
            with pytest.raises(ValueError, match='delete the folder ".*" to train this run from the start') as error:
                distilled(epochs=2)
            assert str(path) in str(error.value), how
    shutil.rmtree(tmp_path / "run")
    assert torch.equal(numbers(distilled(epochs=2).model), numbers(whole.model))


def test_half_written_files_are_harmless(distilled, tmp_path, monkeypatch):
    partials = [tmp_path / "run" / f".{name}.123.partial" for name in (*FILES, "checkpoint-1.pt")]

    def litter():
        for partial in partials:
            partial.parent.mkdir(exist_ok=True)
            partial.write_bytes(b"half")

    litter()  # killed before the first record
    with monkeypatch.context() as patch, pytest.raises(Stop):
        stop_at(patch, loop, "train_epoch", 2)
        distilled(epochs=2)
    assert not any(partial.exists() for partial in partials)
    litter()  # killed while it trained
    run = distilled(epochs=2)
    assert not any(partial.exists() for partial in partials)
    assert torch.equal(numbers(run.model), numbers(distilled("whole", epochs=2).model))
    litter()  # beside a finished run: somebody else's affair
    monkeypatch.setattr(stages, "fit", never)
    assert distilled(epochs=2).record == run.record


# What stops a run


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_run_killed_between_a_file_and_its_record_ends_as_an_unbroken_one(distilled, tmp_path, monkeypatch, count):
    """The records are: begun, first epoch, second epoch, finished."""
    whole = distilled("whole", epochs=2)
    with monkeypatch.context() as patch, pytest.raises(Stop):
        stop_at(patch, runs, "write_record", count)
        distilled(epochs=2)
    left = {path.name for path in (tmp_path / "run").glob("*")} - {"result.json"}
    assert left == [
        set(), {"checkpoint-1.pt"}, {"checkpoint-1.pt", "checkpoint-2.pt"}, {"checkpoint-2.pt", *FILES[1:]}
    ][count - 1]  # fmt: skip
    run = distilled(epochs=2)
    assert torch.equal(numbers(run.model, run.objective), numbers(whole.model, whole.objective))
    assert same_rows(run.rows, whole.rows)
    assert {path.name for path in run.run_dir.iterdir()} == {*FILES}


@pytest.mark.parametrize("count", [2, 3])
def test_a_first_stage_killed_between_a_file_and_its_record_goes_on(distilled, monkeypatch, count):
    whole = distilled("whole", "ab", 16)  # two epochs of its first stage
    with monkeypatch.context() as patch, pytest.raises(Stop):
        stop_at(patch, runs, "write_record", count)
        distilled("run", "ab", 16)
    run = distilled("run", "ab", 16)
    assert torch.equal(numbers(run.model, run.objective), numbers(whole.model, whole.objective))


class Broken(losses.DCDLoss):
    """Not a number from its fifth call on, in its second epoch."""

    calls, limit = 0, 5

    def forward(self, *features):
        Broken.calls += 1
        return super().forward(*features) * (float("nan") if Broken.calls >= Broken.limit else 1)


def test_a_run_that_failed_is_not_tried_again_by_itself(distilled, tmp_path, monkeypatch):
    method = losses.Method("dcd", lambda student, teacher: Broken(64, 64), "pooled", 1.0, version="1")
    monkeypatch.setitem(losses.METHODS, "dcd", method)
    monkeypatch.setattr(Broken, "calls", 0)
    with pytest.raises(training.NonFiniteLoss, match='"dcd" is nan in epoch 2, step 2 of 3') as first:
        distilled(epochs=2)
    record = json.loads((tmp_path / "run/result.json").read_text(encoding="utf-8"))
    assert record["state"] == "failed" and record["reason"] == str(first.value) and len(record["history"]) == 1
    kept = torch.load(tmp_path / "run/checkpoint-1.pt", weights_only=True)
    assert all(tensor.isfinite().all() for tensor in kept["model"].values())
    with monkeypatch.context() as patch:
        patch.setattr(stages, "fit", never)
        with pytest.raises(training.runs.RunFailed, match='step 2 of 3.*as before: delete ".*run" to try again'):
            distilled(epochs=2)
    shutil.rmtree(tmp_path / "run")
    monkeypatch.setattr(Broken, "limit", 1000)
    assert distilled(epochs=2).record["state"] == "finished"


@pytest.mark.parametrize("part", ["weights", "outputs"])
def test_a_run_without_finite_answers_has_failed(tiny_sets, tmp_path, monkeypatch, part):
    class Lost(type(student())):
        def forward(self, images):  # as `evaluate` asks; training reads the features
            return super().forward(images) * (1 if part == "weights" else float("nan"))

    network = student()
    network.__class__ = Lost
    if part == "weights":
        monkeypatch.setattr(loop, "make_optimizer", lambda job: Careless(job.model.parameters(), lr=1.0))
    for error, message in ((training.NonFiniteLoss, f"{part} .*not finite"), (runs.RunFailed, "finite.*as before")):
        with pytest.raises(error, match=message):
            training.train(network, *tiny_sets, FAST, run_dir=tmp_path / "run")
        network.load_state_dict(student().state_dict())
    record = read_record(tmp_path / "run/result.json")
    assert record["state"] == "failed" and "accuracy" not in record and record["history"] == []


class Careless(torch.optim.SGD):
    """Breaks a weight in the last step of an epoch."""

    def step(self, *arguments):
        self.steps = getattr(self, "steps", 0) + 1
        if self.steps == 3:
            with torch.no_grad():
                self.param_groups[0]["params"][0][0] = float("inf")


CELL = """
from torch import nn
from dcd_utils import losses
class Mine(nn.Module):
    def forward(self, student, teacher):
        return FACTOR * (student - teacher).square().mean()
losses.register(losses.Method("mine", lambda *_: Mine(), "logits", 1.0))
"""


def test_a_loss_of_ones_own_that_was_changed_and_registered_again_is_another_run(distilled, monkeypatch):
    def run_cell(factor):
        exec(CELL.replace("FACTOR", factor), {"__name__": "cells"})
        return distilled(method="mine")

    try:
        first = run_cell("1.0")
        with monkeypatch.context() as patch:
            patch.setattr(stages, "fit", never)
            assert run_cell("1.0").record == first.record
            with pytest.raises(ValueError, match="holds another run: code.mine: its code was changed"):
                run_cell("2.0")
    finally:
        losses.METHODS.pop("mine", None)


def test_runs_of_the_course_are_loaded_unless_one_retrains(tiny_sets, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(files, "course_dir", lambda: tmp_path / "course")

    def learn(seed=0, **choices):
        return training.train(models.create("resnet8", 3, seed=seed), *tiny_sets, FAST, seed, **choices)

    first = learn()
    (tmp_path / "course").mkdir()
    shutil.move(first.run_dir, tmp_path / "course" / first.run_dir.name)
    loaded = learn()
    assert loaded.run_dir.parent == tmp_path / "course"
    assert torch.equal(numbers(loaded.model), numbers(first.model))
    assert "comes with the course" in capsys.readouterr().out and not first.run_dir.exists()
    again = learn(retrain=True)
    assert again.run_dir == first.run_dir and again.record["history"] and same_rows(again.rows, first.rows)
    assert "epochs" in capsys.readouterr().out
    assert learn(retrain=True).run_dir == first.run_dir and "trained before" in capsys.readouterr().out
    assert learn().run_dir == loaded.run_dir, "the prose quotes this one, not the reader's own"
    assert learn(seed=1).run_dir.parent == files.data_dir() / "runs"
    assert learn(run_dir=tmp_path / "mine").run_dir == tmp_path / "mine"
