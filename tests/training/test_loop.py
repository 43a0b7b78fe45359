"""The loop: what it counts, what it notices, and that a compiled forward pass trains the same."""

import pytest
import torch
from small import FAST, numbers, student
from torch import nn

from dcd_utils import losses, models, training
from dcd_utils.data import ImageSet
from dcd_utils.training import loop
from dcd_utils.training.loop import batches, steps_per_epoch
from dcd_utils.training.teacher import compiled


def job(tiny_sets, **changes):
    parts = {"model": student(), "objective": losses.Objective(), "teacher": training.NoTeacher(), "seed": 0}
    return training.Job(**{**parts, "train": tiny_sets[0], "test": tiny_sets[1], "recipe": FAST, **changes})


def test_fit_returns_one_row_per_epoch_and_hands_out_all_that_is_needed_to_go_on(tiny_sets):
    states = []
    whole = job(tiny_sets, recipe=FAST.but(epochs=3))
    rows = loop.fit(whole, None, lambda state: states.append({**state, "history": [*state["history"]]}))
    assert [row["epoch"] for row in rows] == [1, 2, 3] and [len(state["history"]) for state in states] == [1, 2, 3]
    assert (rows[-1]["test_accuracy"], rows[-1]["test_top5"]) == training.evaluate(whole.model, tiny_sets[1])
    assert rows[-1]["learning_rate"] == whole.recipe.learning_rate_at(8, 3)
    assert states[0].keys() == {"model", "objective", "optimizer", "history"}


def test_an_epoch_is_what_its_pieces_say(tiny_sets):
    """Against a loop of plain PyTorch, written anew."""
    ours, theirs = job(tiny_sets), job(tiny_sets, plain=True)
    row = training.train_epoch(ours, loop.make_optimizer(ours), 0)
    model, optimizer, total = theirs.model.train(), loop.make_optimizer(theirs), 0.0
    for step, (indices, views) in enumerate(training.batches(40, 16, 0, 0)):
        optimizer.param_groups[0]["lr"] = FAST.learning_rate_at(step, 3)
        loss = nn.functional.cross_entropy(model(theirs.train.batch(indices, views)), theirs.train.labels[indices])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(indices)
    assert row["train_loss"] == pytest.approx(total / 40, rel=1e-5)
    torch.testing.assert_close(numbers(ours.model), numbers(theirs.model), rtol=0, atol=1e-5)


class Breaks(losses.DCDLoss):
    """Not a number from its fifth call on."""

    def __init__(self, *widths):
        super().__init__(*widths)
        self.calls = 0

    def forward(self, *features):
        self.calls += 1
        return super().forward(*features) * (float("nan") if self.calls >= 5 else 1)


def test_a_loss_that_is_not_finite_names_term_epoch_and_step(tiny_sets):
    objective = losses.Objective(1.0, {"dcd": (1.0, "pooled", Breaks(64, 64))})
    broken = job(tiny_sets, objective=objective, teacher=training.FrozenTeacher(student(1), 16))
    optimizer = loop.make_optimizer(broken)
    training.train_epoch(broken, optimizer, 0)
    with pytest.raises(training.NonFiniteLoss, match='"dcd" is nan in epoch 2, step 2 of 3'):
        training.train_epoch(broken, optimizer, 1)


def test_evaluate_counts_top1_and_top5(tiny_sets):
    class Constant(nn.Module):
        def forward(self, images):
            return torch.arange(20, 0, -1.0).expand(len(images), 20)

    images = torch.zeros(20, 3, 16, 16, dtype=torch.uint8)
    balanced = ImageSet(images, torch.arange(20), tuple(map(str, range(20))), (0.5,) * 3, (0.2,) * 3)
    assert training.evaluate(Constant(), balanced) == (5.0, 25.0)
    assert training.evaluate(Constant(), balanced, batch_size=3) == (5.0, 25.0)
    model = student().train()
    training.evaluate(model, tiny_sets[1])
    assert model.training
    with pytest.raises(ValueError, match="empty"):
        training.evaluate(model, tiny_sets[1].subset([]))


class Small(nn.Module):
    """A network that compiles in seconds."""

    def __init__(self, seed):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.convolution, self.norm, self.classifier = nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.Linear(8, 3)

    def features(self, images):
        grid = torch.relu(self.norm(self.convolution(images)))
        pooled = grid.mean(dim=(2, 3))
        return models.Features([grid, nn.functional.avg_pool2d(grid, 2)], pooled, self.classifier(pooled))

    def forward(self, images):
        return self.features(images).logits


def compiles():
    try:
        return torch.compile(lambda x: torch.sin(x) + 1)(torch.ones(3)) is not None
    except Exception:  # no C++ compiler, or none that works: each backend has its own words
        return False


def test_what_a_compiled_pass_returned_stays_when_its_recording_runs_again(monkeypatch):
    """As on a GPU: every replay writes its outputs into the same memory."""
    memory = models.Features([torch.zeros(2, 1)], torch.zeros(2, 1), torch.zeros(2, 1))

    def replay(images):
        for output in (*memory.maps, memory.pooled, memory.logits):
            output.copy_(images)
        return memory

    monkeypatch.setattr(torch, "compile", lambda features, mode: features)
    run = compiled(replay)
    first = run(torch.ones(2, 1))
    run(torch.full((2, 1), 2.0))
    assert all(output.eq(1).all() for output in (*first.maps, first.pooled, first.logits))


@pytest.mark.timeout(600)
def test_a_compiled_epoch_follows_the_plain_one(tiny_sets, monkeypatch):
    if not compiles():
        pytest.skip("torch.compile finds no C++ compiler here")
    sets, compiled, original = (tiny_sets[0].subset(range(32)), tiny_sets[1]), [], torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **named: compiled.append((f, named)) or original(f, **named))
    for method, cache in (("at", "off"), ("dcd+kd", "memory")):  # maps of a live teacher are read; answers are stored
        plain, other = (
            training.distill(Small(0), Small(1), *sets, method, FAST.but(epochs=1), cache=cache, compile=compile)
            for compile in (False, True)
        )
        assert other.rows[0]["train_loss"] == pytest.approx(plain.rows[0]["train_loss"], abs=1e-4)
        torch.testing.assert_close(numbers(other.model), numbers(plain.model), rtol=0, atol=1e-3)
        assert not torch.allclose(numbers(other.model), numbers(Small(0)), atol=1e-3), "it learned"
        assert other.config["compile"] and not plain.config["compile"] and other.run_dir != plain.run_dir
    assert len({id(f.__self__) for f, _ in compiled}) >= 2, "student and live teacher"
    assert {named["mode"] for _, named in compiled} == {"reduce-overhead"}


def test_every_image_once_in_a_view_of_its_own():
    drawn = list(batches(70, 16, seed=0, epoch=0))
    assert [len(indices) for indices, _ in drawn] == [16, 16, 16, 16, 6] and steps_per_epoch(70, 16) == 5
    assert sorted(torch.cat([indices for indices, _ in drawn]).tolist()) == list(range(70))
    views = torch.cat([views for _, views in drawn])
    assert views.min() >= 0 and views.max() < 162 and len(views.unique()) > 40


def test_a_function_of_seed_and_epoch_alone():
    def draw(seed, epoch):
        return torch.cat([torch.stack(batch) for batch in batches(64, 16, seed, epoch)], dim=1)

    torch.manual_seed(3)
    first = draw(0, 0)
    torch.manual_seed(4)
    assert torch.equal(first, draw(0, 0))
    assert not torch.equal(first, draw(1, 0)) and not torch.equal(first, draw(0, 1))


def test_a_single_last_image_is_left_out():
    assert [len(indices) for indices, _ in batches(33, 16, 0, 0)] == [16, 16] and steps_per_epoch(33, 16) == 2
    assert steps_per_epoch(32, 16) == 2 and steps_per_epoch(34, 16) == 3
