"""The loop: what it counts, and what it notices."""

import pytest
import torch
from small import FAST, numbers, student
from torch import nn

from dcd_utils import losses, training
from dcd_utils.data import ImageSet
from dcd_utils.training import loop
from dcd_utils.training.loop import batches


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
    assert states[0].keys() == {"model", "objective", "optimizer", "history", "begun"} and not states[0]["begun"]


def test_an_epoch_is_what_its_pieces_say(tiny_sets):
    """Against a loop of plain PyTorch, written anew."""
    ours, theirs = job(tiny_sets), job(tiny_sets)
    row = training.train_epoch(ours, loop.make_optimizer(ours), 0)
    model, total = theirs.model.train(), 0.0
    optimizer = torch.optim.SGD(model.parameters(), 1.0, FAST.momentum, 0, FAST.weight_decay, foreach=False)
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


class Unsure(nn.Module):
    """Right about most images, without a finite answer to the first ones."""

    def __init__(self, broken, value):
        super().__init__()
        self.norm, self.broken, self.value = nn.BatchNorm1d(3), broken, value

    def forward(self, images):
        logits = torch.zeros(len(images), 3)
        if images.mean() != 0:  # of the first batch
            logits[: self.broken, 1] = self.value
        return logits


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_outputs_that_are_not_finite_are_no_guess(tiny_sets, value):
    test = tiny_sets[1]
    model = Unsure(2, value).train()
    model.norm.eval()  # frozen by its owner
    with pytest.raises(training.NonFiniteLoss, match=f"outputs for 2 of {len(test)} test images are not finite: lower"):
        training.evaluate(model, test)
    assert model.training and not model.norm.training
    model.broken = 0
    training.evaluate(model, test)
    assert model.training and not model.norm.training


class Overflows(losses.DCDLoss):
    """Finite itself, but not its gradient."""

    def forward(self, student, teacher):
        return (student - student.detach()).pow(2).sum().sqrt()


@pytest.mark.parametrize("with_test", [True, False])
def test_weights_that_break_in_the_last_step_are_noticed(tiny_sets, with_test):
    objective = losses.Objective(1.0, {"dcd": (1.0, "pooled", Overflows(64, 64))})
    parts = {"train": tiny_sets[0].subset(range(16)), "test": tiny_sets[1] if with_test else None}
    teacher = training.FrozenTeacher(student(1), 16)
    broken = job(tiny_sets, objective=objective, teacher=teacher, recipe=FAST.but(epochs=1), **parts)
    with pytest.raises(training.NonFiniteLoss, match="weights are not finite after the last step of epoch 1: lower"):
        loop.fit(broken)



def test_every_image_once_in_a_view_of_its_own():
    drawn = list(batches(70, 16, seed=0, epoch=0))
    assert [len(indices) for indices, _ in drawn] == [16, 16, 16, 16, 6]
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
    assert [len(indices) for indices, _ in batches(33, 16, 0, 0)] == [16, 16]
    assert len(list(batches(32, 16, 0, 0))) == 2 and len(list(batches(34, 16, 0, 0))) == 3
