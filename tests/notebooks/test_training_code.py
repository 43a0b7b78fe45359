"""The training code written out in notebooks 01 and 03 does what the package's does."""

import copy

import pytest
import torch
from notebook_code import definitions, run_cells

from dcd_utils import data, experiments, losses, models, runtime, training
from dcd_utils.training.loop import make_optimizer

RECIPE = training.QUICK.but(epochs=2, batch_size=32, precision="fp32")


@pytest.fixture(scope="module")
def images():
    return data.load("shapes", device="cpu", train_size=150, test_size=40)


def job(model, images, objective=None, teacher=None, recipe=RECIPE, seed=0):
    """A training for the package's loop; without a teacher, of the classification loss alone."""
    objective, teacher = objective or losses.Objective(), teacher or training.NoTeacher()
    return training.Job(model, objective, teacher, *images, recipe, seed)


@pytest.fixture(scope="module")
def teacher(images):
    """A network that was trained a little, so that its batch statistics differ from those of any batch."""
    network = models.create("resnet8", 20, seed=1)
    sgd = torch.optim.SGD(network.parameters(), lr=0.1)
    training.train_epoch(job(network, images, seed=1), sgd, epoch=0)
    return network


def assert_equal(first, second):
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("shape", [(4, 4, 1), (4, 6, 1), (4, 6, 2)], ids=str)
def test_the_block_of_01(shape, mode):
    ours, theirs = definitions("01_teacher_training").BasicBlock(*shape), models.resnet.BasicBlock(*shape)
    generator = torch.Generator().manual_seed(0)
    for value in theirs.state_dict().values():  # at the start every scale is 1 and every shift 0
        value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(5, 4, 8, 8, generator=generator)
    results = []
    for block in (ours, theirs):
        images = x.clone().requires_grad_()
        output = getattr(block, mode)()(images)
        results.append([output, *torch.autograd.grad(output.square().sum(), [images, *block.parameters()])])
    torch.testing.assert_close(*results, rtol=0, atol=0)
    assert_equal(ours, theirs)  # the running statistics, too
    assert results[0][0].shape[1:] == (shape[1], 8 // shape[2], 8 // shape[2])


@pytest.mark.parametrize(
    "recipe", [training.QUICK_TEACHER, training.PAPER, RECIPE.but(epochs=1)], ids=lambda recipe: recipe.schedule
)
def test_the_schedules_of_01(recipe):
    written, steps = definitions("01_teacher_training"), 7
    for step in range(recipe.epochs * steps):
        if recipe.schedule == "one_cycle":
            rate = written.one_cycle(step, recipe.epochs * steps, recipe.learning_rate)
        else:
            rate = written.in_steps(step, steps, recipe.learning_rate, recipe.milestones, recipe.decay)
        assert rate == recipe.learning_rate_at(step, steps)


def test_the_training_loop_of_01(images):
    epoch_of_01 = definitions("01_teacher_training").train_epoch
    mine = models.create("resnet8", 20, seed=0)
    theirs = copy.deepcopy(mine)
    my_sgd, their_sgd = (
        torch.optim.SGD(model.parameters(), lr=1.0, momentum=RECIPE.momentum, weight_decay=RECIPE.weight_decay)
        for model in (mine, theirs)
    )
    for epoch in range(RECIPE.epochs):
        step_losses, loss, accuracy = epoch_of_01(mine, my_sgd, images[0], RECIPE, 0, epoch)
        sizes = (32, 32, 32, 32, 22)
        assert loss == pytest.approx(sum(a * b for a, b in zip(step_losses, sizes, strict=True)) / 150)
        row = training.train_epoch(job(theirs, images), their_sgd, epoch)
        assert loss == pytest.approx(row["train_loss"], rel=1e-5)
        assert accuracy == pytest.approx(row["train_accuracy"], rel=1e-5)
    assert_equal(mine, theirs)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", ["kd", "dcd", "dcd+kd"])
def test_the_distillation_step_of_03(images, teacher, method, precision):
    train = images[0]
    written = definitions("03_student_distillation")
    recipe = RECIPE.but(precision=precision)
    before = runtime.digest(teacher.state_dict())
    mine = models.create("resnet8", 20, seed=0)
    with torch.no_grad():
        example = [model.eval().features(train.batch(torch.arange(2))) for model in (mine, teacher)]
    my_objective = losses.objective(method, *example)
    theirs, their_objective = copy.deepcopy(mine), copy.deepcopy(my_objective)
    my_optimizer = written.make_optimizer(mine, my_objective, recipe)
    their_optimizer = written.make_optimizer(theirs, their_objective, recipe)
    their_job = job(theirs, images, their_objective, training.FrozenTeacher(teacher), recipe)
    package_optimizer = make_optimizer(their_job)
    # "fused" computes the same update in another order, so weights would agree but for their last digits
    optimizers = (their_optimizer, package_optimizer)
    ours, packages = ({**optimizer.param_groups[0], "fused": None} for optimizer in optimizers)
    assert list(map(id, ours.pop("params"))) == list(map(id, packages.pop("params")))
    assert ours == packages
    for epoch in range(recipe.epochs):
        written.distill_epoch(mine, teacher, my_objective, my_optimizer, train, recipe, 0, epoch)
        training.train_epoch(their_job, their_optimizer, epoch)
    assert_equal(mine, theirs)
    assert_equal(my_objective, their_objective)
    assert runtime.digest(teacher.state_dict()) == before
    if method != "kd":
        assert my_objective.losses["dcd"].log_scale != 1.0
        assert my_objective.losses["dcd"].bias.abs() < 1e-6  # its gradient is 0 but for rounding


def test_the_stored_answers_of_03(images, teacher):
    few = images[0].subset(range(8))
    table = definitions("03_student_distillation").store(teacher, few)
    assert table.shape == (8 * 162, 20)
    stored = training.StoredTeacher(teacher, few, "fp32", batch_size=8, cache="memory")
    for epoch in range(3):
        ((order, views),) = training.batches(8, 8, seed=0, epoch=epoch)
        stored.prepare(order, views)
        answers = table[order * 162 + views]
        assert torch.equal(answers, stored(few.batch(order, views), order).logits)
        assert torch.equal(answers, training.FrozenTeacher(teacher)(few.batch(order, views)).logits)


def test_the_runs_of_03_are_those_of_the_package(images, tmp_path, monkeypatch):
    monkeypatch.setenv("DCD_DATA", str(tmp_path))
    train, test = images
    profile = experiments.profile("quick", teacher="resnet14", student="resnet8", epochs=1, seeds=(3, 5))
    methods = ("alone", experiments.KD_AS_PARTNER, "dcd+kd")
    teacher_run, expected = experiments.course_runs(profile, methods, train, test)
    known = sorted(path.name for path in (tmp_path / "runs").glob("resnet*"))
    names = {"p": profile, "train": train, "test": test, "methods": methods, "teacher": teacher_run.model}
    names |= {"retrain": False}
    runs = run_cells("03_student_distillation", "own-weights", "train-all-code", **names).runs
    assert sorted(path.name for path in (tmp_path / "runs").glob("resnet*")) == known and len(known) == 7
    assert runs.keys() == expected.keys() == {(method, seed) for method in methods for seed in (3, 5)}
    assert all(runs[key].run_dir == run.run_dir and runs[key].rows == run.rows for key, run in expected.items())
    assert {run.config["seed"] for (_, seed), run in expected.items() if seed == 5} == {5}
