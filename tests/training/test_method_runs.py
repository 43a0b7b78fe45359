"""Every method trains through the one loop; first stages, memories and queues survive a stop."""

import pytest
import torch

from dcd_utils import losses, models, training
from dcd_utils.training import api

FAST = training.Recipe(
    epochs=2, batch_size=16, learning_rate=0.02, schedule="one_cycle", milestones=(), precision="fp32"
)
SMALL = {"rrd": {"queue_size": 24}, "crd": {"negatives": 20}}


def student(name="resnet8"):
    return models.create(name, 3, seed=0)


def numbers(module):
    """Everything a module holds, as one row of numbers."""
    found = [value.reshape(-1).double() for value in module.state_dict().values() if torch.is_tensor(value)]
    return torch.cat([torch.zeros(0, dtype=torch.float64), *found])


@pytest.fixture
def teacher():
    return models.create("resnet14", 3, seed=5)


@pytest.mark.parametrize("follower", ["", "+kd"])
@pytest.mark.parametrize("method", [name for name in losses.names() if name not in ("kd", "dcd")])
def test_every_method_trains(tiny_sets, teacher, method, follower):
    before = teacher.state_dict()["fc.weight"].clone(), teacher.state_dict()["bn1.running_mean"].clone()
    run = training.distill(
        student(), teacher, *tiny_sets, method + follower, FAST.but(epochs=1), options=SMALL.get(method, {})
    )
    assert len(run.rows) == 1 and numbers(run.model).isfinite().all()
    own = losses.METHODS[method]
    assert (method in run.history) == bool(own.weight) and ("kd" in run.history) == bool(follower)
    assert torch.equal(teacher.fc.weight, before[0]) and torch.equal(teacher.bn1.running_mean, before[1])


@pytest.mark.parametrize(
    # a first stage takes an eighth of the epochs: "ab" stops in the middle of it, at its end, and after it
    ("method", "epochs", "stop_after"),
    [("ab", 16, 1), ("ab", 8, 1), ("ab", 8, 2), ("ft", 8, 1), ("fsp+kd", 8, 1), ("crd", 3, 1), ("rrd", 3, 2)],
)
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(
    tiny_sets, teacher, method, epochs, stop_after, tmp_path, monkeypatch
):
    options, recipe = SMALL.get(method, {}), FAST.but(epochs=epochs)

    def run(folder):
        return training.distill(student(), teacher, *tiny_sets, method, recipe, run_dir=folder, options=options)

    whole = run(tmp_path / "whole")
    saves = []
    save = api.RunFolder.save_checkpoint

    def save_and_stop(self, state):
        save(self, state)
        saves.append(state)
        if len(saves) == stop_after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(api.RunFolder, "save_checkpoint", save_and_stop)
        run(tmp_path / "stopped")
    again = run(tmp_path / "stopped")
    assert torch.equal(numbers(again.model), numbers(whole.model))
    assert torch.equal(numbers(again.objective), numbers(whole.objective))
    for row, expected in zip(again.rows, whole.rows, strict=True):
        changing = ("seconds", "images_per_second")
        assert {k: v for k, v in row.items() if k not in changing} == {
            k: v for k, v in expected.items() if k not in changing
        }


@pytest.mark.parametrize(("method", "student_learns"), [("ab", True), ("fsp", True), ("ft", False)])
def test_the_first_stage_trains_what_its_loss_reaches_and_nothing_else(
    tiny_sets, teacher, monkeypatch, method, student_learns
):
    pupil, states, original = student(), [], api.fit

    def fit(*arguments):
        result = original(*arguments)
        objective = arguments[2]
        states.append((pupil.fc.weight.clone(), pupil.layer3[0].conv1.weight.clone(), numbers(objective)))
        return result

    monkeypatch.setattr(api, "fit", fit)
    start = pupil.fc.weight.clone(), pupil.layer3[0].conv1.weight.clone()
    run = training.distill(pupil, teacher, *tiny_sets, method, FAST)
    first, main = states
    assert torch.equal(first[0], start[0]) and not torch.equal(main[0], start[0]), "the classifier learns afterwards"
    assert torch.equal(first[1], start[1]) != student_learns
    if method == "ft":
        paraphraser = run.objective.losses["ft"].paraphraser
        assert torch.equal(numbers(paraphraser), first[2]), "frozen once its stage is over"
        assert paraphraser.encoder[0].weight.grad is None or not paraphraser.encoder[0].weight.grad.any()


def test_a_method_that_cannot_work_for_a_pair_says_so_before_anything_is_written(tiny_sets, tmp_path):
    with pytest.raises(ValueError, match="fsp compares channel by channel"):
        training.distill(
            student(), models.create("wrn_16_2", 3, seed=0), *tiny_sets, "fsp", FAST, run_dir=tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="queue holds 8 embeddings, the batch 16"):
        training.distill(
            student(), models.create("resnet14", 3, seed=0), *tiny_sets, "rrd", FAST, options={"queue_size": 8}
        )
