"""train and distill: they learn, load what was trained before, and leave a teacher to its owner."""

import copy
import shutil
import threading

import pandas as pd
import pytest
import torch
from small import FAST, Stop, numbers, same_rows, stop_at, student
from torch import nn

from dcd_utils import losses, models, training
from dcd_utils.data import ImageSet
from dcd_utils.training import loop, stages
from dcd_utils.training.runs import RunFolder

SMALL = {"rrd": {"queue_size": 24}, "crd": {"negatives": 20}}


@pytest.fixture
def teacher():
    network = models.create("resnet14", 3, seed=5)
    network(torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    return network.eval()


@pytest.fixture
def colours():
    """(train, test): 96 and 48 noisy images of 16x16, whose class is the brightest channel."""

    def make(size, seed):
        generator, labels = torch.Generator().manual_seed(seed), torch.arange(size) % 3
        levels = 0.35 + 0.3 * nn.functional.one_hot(labels, 3)[:, :, None, None]
        images = (levels + 0.2 * torch.randn(size, 3, 16, 16, generator=generator)).clamp(0, 1)
        return ImageSet((images * 255).byte(), labels, ("red", "green", "blue"), (0.5,) * 3, (0.25,) * 3)

    return make(96, 0), make(48, 1)


@pytest.mark.parametrize("method", ["alone", "kd", "dcd", "dcd+kd"])
def test_a_real_small_run_of_every_method_learns(colours, method):
    train, test = colours
    recipe = FAST.but(epochs=6)
    if method == "alone":
        run = training.train(student(), train, test, recipe)
    else:
        teacher = training.train(models.create("resnet14", 3, seed=9), train, test, recipe).model
        run = training.distill(student(), teacher, train, test, method, recipe)
    history = run.history
    assert len(history) == 6 and run.accuracy == history.test_accuracy.iloc[-1]
    assert run.best_accuracy == history.test_accuracy.max()
    assert history.train_loss.iloc[-1] < history.train_loss.iloc[0]
    assert run.accuracy > 90, "chance is 33 %"
    assert training.evaluate(run.model, test, precision="fp32")[0] == run.accuracy
    terms = {"alone": set(), "kd": {"kd"}, "dcd": {"dcd"}, "dcd+kd": {"dcd", "kd"}}[method]
    assert {"kd", "dcd"} & set(history) == terms
    if "dcd" in terms:
        assert history.bias.abs().max() < 1e-6, "its gradient is zero but for rounding"
        assert (history.scale <= 10).all() and history.scale.nunique() == 6
        expected = history.contrast + 0.5 * history.consistency
        pd.testing.assert_series_equal(history.dcd, expected, check_names=False, rtol=1e-5)


def test_the_same_config_is_loaded_not_trained(tiny_sets, teacher, monkeypatch, capsys):
    first = training.distill(student(), teacher, *tiny_sets, "dcd", FAST)
    expected = numbers(first.model, first.objective)
    monkeypatch.setattr(stages, "fit", lambda *_: pytest.fail("trained again"))
    again = training.distill(student(), teacher, *tiny_sets, "dcd", FAST)
    assert torch.equal(numbers(again.model, again.objective), expected)
    assert again.rows == first.rows and again.run_dir == first.run_dir and not again.model.training
    assert "loaded" in capsys.readouterr().out
    assert not torch.equal(again.objective.losses["dcd"].log_scale, torch.tensor(1.0))


def test_a_run_that_another_process_trains_is_waited_for(tiny_sets, tmp_path, monkeypatch):
    first = training.train(student(), *tiny_sets, FAST)
    first.run_dir.rename(tmp_path / "finished")  # as if the other process had not come to its end yet
    printed, waiting, runs = [], threading.Event(), []
    monkeypatch.setattr("builtins.print", lambda text, **_: printed.append(text) or waiting.set())
    monkeypatch.setattr(stages, "fit", lambda *_: pytest.fail("trained twice"))
    other = threading.Thread(target=lambda: runs.append(training.train(student(), *tiny_sets, FAST)))
    with RunFolder(first.run_dir, first.config, {}).claimed(lambda: pytest.fail("nobody else is there")):
        with pytest.raises(training.RunBusy, match="another process trains this run"):
            training.train(student(), *tiny_sets, FAST, wait=False)
        other.start()
        assert waiting.wait(60) and not runs
        shutil.move(tmp_path / "finished", first.run_dir)
    other.join(60)
    assert runs[0].rows == first.rows
    assert "another process trains this run, waiting" in printed[0] and "loaded" in printed[1]


def test_a_device_out_of_memory_names_the_batch_and_keeps_what_is_there(tiny_sets, tmp_path, monkeypatch):
    recipe = FAST.but(epochs=3)
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.\nlong advice")
    with monkeypatch.context() as patch, pytest.raises(RuntimeError) as error:
        stop_at(patch, loop, "train_epoch", 2, full)
        training.train(student(), *tiny_sets, recipe, run_dir=tmp_path / "run")
    message = str(error.value)
    assert f"with {recipe.batch_size} images of (3, 16, 16) a step" in message and "smaller batch_size" in message
    assert "Tried to allocate 20 GiB" in message and "long advice" not in message
    resumed = training.train(student(), *tiny_sets, recipe, run_dir=tmp_path / "run")
    whole = training.train(student(), *tiny_sets, recipe, run_dir=tmp_path / "whole")
    assert torch.equal(numbers(resumed.model), numbers(whole.model))


def test_every_method_sees_the_same_batches_and_views(tiny_sets, teacher, monkeypatch):
    seen, original = {}, ImageSet.batch

    def record(method):
        def batch(self, indices, views=None):
            if views is not None:
                seen.setdefault(method, []).append((indices.tolist(), views.tolist()))
            return original(self, indices, views)

        monkeypatch.setattr(ImageSet, "batch", batch)

    record("alone")
    training.train(student(), *tiny_sets, FAST)
    for method in ("kd", "dcd"):
        record(method)
        training.distill(student(), teacher, *tiny_sets, method, FAST, cache="off")  # which asks no batch of its own
    assert seen["alone"] == seen["kd"] == seen["dcd"] and len(seen["kd"]) == 6


def test_weight_zero_equals_training_alone(tiny_sets, teacher):
    alone = training.train(student(), *tiny_sets, FAST)
    muted = training.distill(student(), teacher, *tiny_sets, "dcd", FAST, weights={"dcd": 0.0})
    assert torch.equal(numbers(alone.model), numbers(muted.model))


def test_bf16_stays_near_fp32_and_keeps_float32_weights(shapes):
    exact, rounded = (
        training.train(student(classes=20), *shapes, FAST.but(epochs=1, precision=precision))
        for precision in ("fp32", "bf16")
    )
    assert all(parameter.dtype == torch.float32 for parameter in rounded.model.parameters())
    assert exact.rows[0]["train_loss"] == pytest.approx(rounded.rows[0]["train_loss"], rel=0.02)
    assert not torch.equal(numbers(exact.model), numbers(rounded.model))


def test_mismatches_are_named_before_anything_is_written(tiny_sets, shapes, teacher, tmp_path):
    folder = tmp_path / "run"

    def train(network, *sets):
        training.train(network, *(sets or tiny_sets), FAST, run_dir=folder)

    def distill(network, other, method="kd", **settings):
        training.distill(network, other, *tiny_sets, method, FAST, run_dir=folder, **settings)

    wrong = models.create("resnet8", 100)
    with pytest.raises(ValueError, match="3 classes, the network has 100 outputs: pass num_classes=3"):
        train(wrong)
    with pytest.raises(ValueError, match="3 classes, the teacher has 100 outputs"):
        distill(student(), wrong)
    with pytest.raises(ValueError, match="kd, fitnet.*dcd"):
        distill(student(), teacher, "magic")
    with pytest.raises(ValueError, match="one data.load"):
        train(student(), tiny_sets[0], shapes[1])
    with pytest.raises(ValueError, match="no method features"):
        train(nn.Linear(3, 3))
    with pytest.raises(ValueError, match="at least 2"):
        train(student(), tiny_sets[0].subset([0]), tiny_sets[1])
    with pytest.raises(ValueError, match="fsp compares channel by channel"):
        distill(student(), models.create("wrn_16_2", 3, seed=0), "fsp")
    teacher.classes = ("x", "y", "z")
    with pytest.raises(ValueError, match="trained on other classes"):
        distill(student(), teacher)
    assert not folder.exists()
    teacher.classes = None
    with pytest.raises(ValueError, match="queue holds 8 embeddings, the batch 16"):
        distill(student(), teacher, "rrd", options={"queue_size": 8})


# A teacher is its owner's


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(("method", "cache"), [("dcd+kd", "memory"), ("kd", "off"), ("ab", "off")])
def test_a_teacher_is_given_back_as_it_was(tiny_sets, teacher, monkeypatch, fails, method, cache):
    teacher.train()
    teacher.layer1.eval(), teacher.layer2[0].bn1.eval(), teacher.layer3.requires_grad_(False)
    state, grads = numbers(teacher), [parameter.requires_grad for parameter in teacher.parameters()]
    modes = {name: module.training for name, module in teacher.named_modules()}
    assert {*modes.values()} == {*grads} == {True, False}
    if fails:
        stop_at(monkeypatch, loop, "train_epoch", 2)
        with pytest.raises(Stop):
            training.distill(student(), teacher, *tiny_sets, method, FAST, cache=cache)
    else:
        training.distill(student(), teacher, *tiny_sets, method, FAST, cache=cache)
    assert {name: module.training for name, module in teacher.named_modules()} == modes
    assert [parameter.requires_grad for parameter in teacher.parameters()] == grads
    assert torch.equal(numbers(teacher), state)
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_teacher_and_student_may_change_places(tiny_sets, teacher):
    first, second = student(0), student(1)
    training.distill(second, first, *tiny_sets, "dcd+kd", FAST)
    for learn in (
        lambda: training.distill(first, second, *tiny_sets, "dcd+kd", FAST),
        lambda: training.train(first, *tiny_sets, FAST),
    ):
        before = first.conv1.weight.clone(), first.bn1.running_mean.clone()
        learn()
        assert not torch.equal(first.conv1.weight, before[0]) and not torch.equal(first.bn1.running_mean, before[1])


def test_nothing_to_train_and_shared_weights_are_refused(tiny_sets, teacher):
    frozen = student().requires_grad_(False)
    for start in (lambda: training.train(frozen, *tiny_sets, FAST),
                  lambda: training.distill(frozen, teacher, *tiny_sets, "dcd", FAST)):  # fmt: skip
        with pytest.raises(ValueError, match="nothing in the .* can be trained.*requires_grad_"):
            start()
    twin = copy.deepcopy(teacher)
    twin.fc = teacher.fc
    view = copy.deepcopy(teacher)
    view.fc.weight = nn.Parameter(teacher.fc.weight.detach())  # another parameter over the same numbers
    for sharing in (teacher, twin, view):
        with pytest.raises(ValueError, match="share weights: pass two networks"):
            training.distill(sharing, teacher, *tiny_sets, "dcd", FAST)
    training.distill(copy.deepcopy(teacher), teacher, *tiny_sets, "dcd", FAST.but(epochs=1))


# Every method trains through the one loop; first stages, memories and queues survive a stop


@pytest.mark.parametrize("follower", ["", "+kd"])
@pytest.mark.parametrize("method", [name for name in losses.names() if name not in ("kd", "dcd")])
def test_every_method_trains(tiny_sets, teacher, method, follower):
    before = numbers(teacher)
    recipe, options = FAST.but(epochs=1, learning_rate=0.02), SMALL.get(method, {})
    run = training.distill(student(), teacher, *tiny_sets, method + follower, recipe, options=options)
    assert len(run.rows) == 1 and numbers(run.model).isfinite().all()
    weight = losses.METHODS[method].weight
    assert (method in run.history) == bool(weight) and ("kd" in run.history) == bool(follower)
    assert torch.equal(numbers(teacher), before)


@pytest.mark.parametrize(
    # a first stage takes an eighth of the epochs: "ab" stops in the middle of it, at its end, and after it
    ("method", "epochs", "stop_after"),
    [("dcd+kd", 4, 2), ("ab", 16, 1), ("ab", 8, 1), ("ab", 8, 2), ("ft", 8, 1), ("fsp+kd", 8, 1), ("crd", 3, 1),
     ("rrd", 3, 2)],
)  # fmt: skip
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(
    tiny_sets, teacher, method, epochs, stop_after, tmp_path, monkeypatch
):
    recipe = FAST.but(epochs=epochs, learning_rate=0.02)

    def run(folder):
        return training.distill(
            student(), teacher, *tiny_sets, method, recipe, run_dir=tmp_path / folder, options=SMALL.get(method, {})
        )

    whole = run("whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, loop, "train_epoch", stop_after + 1, KeyboardInterrupt)
        run("stopped")
    assert [*(tmp_path / "stopped").glob("checkpoint-*.pt")] and not (tmp_path / "stopped/weights.safetensors").exists()
    again = run("stopped")
    assert torch.equal(numbers(again.model, again.objective), numbers(whole.model, whole.objective))
    assert same_rows(again.rows, whole.rows)


@pytest.mark.parametrize(("method", "student_learns"), [("ab", True), ("fsp", True), ("ft", False)])
def test_the_first_stage_trains_what_its_loss_reaches_and_nothing_else(
    tiny_sets, teacher, monkeypatch, method, student_learns
):
    pupil, states, original = student(), [], stages.fit

    def fit(job, *rest):
        history = original(job, *rest)
        states.append((pupil.fc.weight.clone(), pupil.layer3[0].conv1.weight.clone(), numbers(job.objective)))
        return history

    monkeypatch.setattr(stages, "fit", fit)
    start = pupil.fc.weight.clone(), pupil.layer3[0].conv1.weight.clone()
    run = training.distill(pupil, teacher, *tiny_sets, method, FAST)
    first, main = states
    assert torch.equal(first[0], start[0]) and not torch.equal(main[0], start[0]), "the classifier learns afterwards"
    assert torch.equal(first[1], start[1]) != student_learns
    if method == "ft":
        paraphraser = run.objective.losses["ft"].paraphraser
        assert torch.equal(numbers(paraphraser), first[2]), "frozen once its stage is over"
        assert paraphraser.encoder[0].weight.grad is None or not paraphraser.encoder[0].weight.grad.any()


# Networks as others hand them over


def wrappers(network):
    compiled = torch.compile(network)
    return {
        "DataParallel": nn.DataParallel(network),
        "compiled": compiled,
        "both": nn.DataParallel(compiled),
        "average": torch.optim.swa_utils.AveragedModel(network),
    }


@pytest.mark.parametrize("way", ["DataParallel", "compiled", "both", "average"])
def test_a_wrapped_network_is_the_same_run_under_plain_names(tiny_sets, teacher, tmp_path, way, capsys):
    run = training.distill(student(), teacher, *tiny_sets, "kd", FAST)
    outer = wrappers(student())[way]
    training.check_method(outer, wrappers(teacher)[way], tiny_sets[0], "ab", 16)
    again = training.distill(outer, wrappers(teacher)[way], *tiny_sets, "kd", FAST)
    assert again.run_dir == run.run_dir and again.model is models.unwrapped(outer)
    assert "loaded" in capsys.readouterr().out
    training.distill(wrappers(student())[way], teacher, *tiny_sets, "kd", FAST, run_dir=tmp_path / "run")  # anew
    loaded = models.load_weights(student(seed=9), tmp_path / "run")
    assert torch.equal(numbers(loaded), numbers(run.model))
    alone = [training.train(network, *tiny_sets, FAST).run_dir for network in (student(), wrappers(student())[way])]
    assert alone[0] == alone[1]
    assert training.evaluate(nn.DataParallel(loaded), tiny_sets[1]) == training.evaluate(loaded, tiny_sets[1])


def test_checking_a_method_leaves_both_networks_as_they_are(tiny_sets, teacher):
    pupil = student()
    before, modes = numbers(pupil, teacher.train()), [module.training for module in teacher.modules()]
    for method in losses.names():
        training.check_method(pupil, teacher, tiny_sets[0], method, 16, options=SMALL.get(method))
    assert torch.equal(numbers(pupil, teacher), before)
    assert [module.training for module in teacher.modules()] == modes and pupil.training


class Own(nn.Module):
    """A network of one's own; `answer` is what it returns, or raises."""

    def __init__(self, answer, channels=3):
        super().__init__()
        self.conv, self.answer = nn.Conv2d(channels, 3, 1), answer

    def features(self, images):
        pooled = self.conv(images).mean((2, 3))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer(pooled)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (Own(lambda x: models.Features([], x, x), channels=1),
         r"RuntimeError: Given groups=1.*Its first convolution takes 1 channels: images here have three"),
        (Own(KeyError("layer")), "KeyError: 'layer'$"),
        (Own(NotImplementedError("no features yet")), "NotImplementedError: no features yet$"),
        (Own(lambda x: x), "AttributeError: 'Tensor' object has no attribute 'logits'$"),
        (Own(lambda x: ([], x, x)), "AttributeError: 'tuple' object has no attribute 'logits'$"),
        (Own(lambda x: models.Features([], x, x[:, :, None, None])), r"the logits are \(2, 3, 1, 1\), expected"),
    ],
)  # fmt: skip
def test_a_network_that_fails_is_named_before_anything_is_trained(tiny_sets, teacher, network, words):
    place = r"\(Own\) fails on images of \(2, 3, 16, 16\): .*"
    for call, role in (
        (lambda: training.train(network, *tiny_sets, FAST), "network"),
        (lambda: training.distill(student(), network, *tiny_sets, "kd", FAST), "teacher"),
        (lambda: training.check_method(network, teacher, tiny_sets[0], "kd", 16), "student"),
    ):
        with pytest.raises(ValueError, match=f"the {role} {place}{words}") as refusal:
            call()
        assert refusal.value.__cause__ is not None and network.training


def test_a_network_of_one_channel_among_ours_is_refused_and_a_full_device_is_not_its_fault(tiny_sets):
    grey = student()
    grey.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
    with pytest.raises(ValueError, match=r"network \(resnet8\) fails on .*takes 1 channels: images here have three"):
        training.train(grey, *tiny_sets, FAST)
    with pytest.raises(torch.OutOfMemoryError):
        training.train(Own(torch.OutOfMemoryError("out of memory")), *tiny_sets, FAST)
