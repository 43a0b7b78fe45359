import json
import threading

import pandas as pd
import pytest
import torch
from torch import nn

from dcd_utils import losses, models, runtime, training
from dcd_utils.data import ImageSet
from dcd_utils.training import api, loop
from dcd_utils.training.runs import RunFolder

FAST = training.Recipe(
    epochs=2, batch_size=16, learning_rate=0.05, schedule="one_cycle", milestones=(), precision="fp32"
)


def student(seed=0, classes=3):
    return models.create("resnet8", classes, seed=seed)


def weights(model):
    return torch.cat([tensor.reshape(-1).double() for tensor in model.state_dict().values()])


@pytest.fixture
def teacher(tiny_sets):
    return training.train(models.create("resnet14", 3, seed=0), *tiny_sets, FAST).model


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
    guide = training.train(models.create("resnet14", 3, seed=9), train, test, recipe).model
    if method == "alone":
        run = training.train(student(), train, test, recipe)
    else:
        run = training.distill(student(), guide, train, test, method, recipe)
    history = run.history
    assert len(history) == 6 and run.accuracy == history.test_accuracy.iloc[-1]
    assert run.best_accuracy == history.test_accuracy.max()
    assert history.train_loss.iloc[-1] < history.train_loss.iloc[0]
    assert run.accuracy > 90, "chance is 33 %"
    assert training.evaluate(run.model, test, precision="fp32")[0] == run.accuracy
    terms = {"alone": [], "kd": ["kd"], "dcd": ["dcd"], "dcd+kd": ["dcd", "kd"]}[method]
    own = [name for name in ("kd", "dcd") if name in history]
    assert sorted(own) == sorted(terms)
    if "dcd" in terms:
        assert history.bias.abs().max() < 1e-6, "its gradient is zero but for rounding"
        assert (history.scale <= 10).all() and history.scale.nunique() == 6
        expected = history.contrast + 0.5 * history.consistency
        pd.testing.assert_series_equal(history.dcd, expected, check_names=False, rtol=1e-5)


def test_the_same_config_is_loaded_not_trained(tiny_sets, monkeypatch, capsys):
    first = training.train(student(), *tiny_sets, FAST)
    expected = weights(first.model)
    monkeypatch.setattr(api, "fit", lambda *_: pytest.fail("trained again"))
    again = training.train(student(), *tiny_sets, FAST)
    assert torch.equal(weights(again.model), expected) and again.rows == first.rows and again.run_dir == first.run_dir
    assert "loaded" in capsys.readouterr().out


def test_what_the_losses_learned_is_loaded_too(tiny_sets, teacher):
    first = training.distill(student(), teacher, *tiny_sets, "dcd", FAST)
    again = training.distill(student(), teacher, *tiny_sets, "dcd", FAST)
    assert torch.equal(weights(first.objective), weights(again.objective))
    assert not torch.equal(first.objective.losses["dcd"].log_scale, torch.tensor(1.0))


def test_a_run_that_another_process_trains_is_waited_for(tiny_sets, monkeypatch, capsys):
    first = training.train(student(), *tiny_sets, FAST)
    result = first.run_dir / "result.json"
    finished = result.read_text()
    result.unlink()  # as if the other process had not come to its end yet
    printed, waiting = [], threading.Event()
    monkeypatch.setattr("builtins.print", lambda text, **_: printed.append(text) or waiting.set())
    monkeypatch.setattr(api, "fit", lambda *_: pytest.fail("trained twice"))
    found = []
    other = threading.Thread(target=lambda: found.append(training.train(student(), *tiny_sets, FAST)))
    with RunFolder(first.run_dir, first.config, "").claimed(lambda: pytest.fail("nobody else is there")):
        other.start()
        assert waiting.wait(60) and not found
        result.write_text(finished)
    other.join(60)
    assert found[0].rows == first.rows
    assert "another process trains this run" in printed[0] and "loaded" in printed[1]


def test_a_device_out_of_memory_names_the_batch_and_keeps_what_is_there(tiny_sets, tmp_path, monkeypatch):
    recipe = FAST.but(epochs=3)

    def full(*arguments, original=loop.train_epoch, **named):
        if arguments[-1] == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.\nlong advice")
        return original(*arguments, **named)

    monkeypatch.setattr(loop, "train_epoch", full)
    with pytest.raises(RuntimeError) as error:
        training.train(student(), *tiny_sets, recipe, run_dir=tmp_path / "run")
    message = str(error.value)
    assert f"with {recipe.batch_size} images of (3, 16, 16) a step" in message and "smaller batch_size" in message
    assert "Tried to allocate 20 GiB" in message and "long advice" not in message
    monkeypatch.undo()
    resumed = training.train(student(), *tiny_sets, recipe, run_dir=tmp_path / "run")
    whole = training.train(student(), *tiny_sets, recipe, run_dir=tmp_path / "whole")
    assert torch.equal(weights(resumed.model), weights(whole.model))


def test_bf16_is_refused_on_a_gpu_without_it(monkeypatch):
    old, cpu = torch.device("cuda", 0), torch.device("cpu")
    monkeypatch.setattr(runtime, "bf16_pays", lambda device: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old GPU")
    assert loop.resolve_precision("auto", old) == "fp32" == loop.resolve_precision("fp32", old)
    assert loop.resolve_precision("bf16", cpu) == "bf16", "a CPU emulates it"
    with pytest.raises(ValueError, match="Old GPU does not compute in bfloat16: choose precision"):
        loop.resolve_precision("bf16", old)


def test_auto_precision_goes_by_the_network_on_a_cpu(monkeypatch):
    monkeypatch.setattr(runtime, "bf16_pays", lambda device: True)
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    for name, expected in {"resnet8": "bf16", "MobileNetV2": "fp32", "ShuffleV1": "fp32", "ShuffleV2": "fp32"}.items():
        network = models.create(name, 10)
        assert loop.resolve_precision("auto", cpu, network) == expected
        assert loop.resolve_precision("auto", gpu, network) == "bf16"
        assert loop.resolve_precision("bf16", cpu, network) == "bf16", "what is asked for is done"


@pytest.mark.parametrize("change", [{"seed": 1}, {"recipe": FAST.but(epochs=3)}, {"model": student(seed=1)}])
def test_another_config_is_another_run(tiny_sets, change):
    first = training.train(student(), *tiny_sets, FAST)
    arguments = {"model": student(), "train": tiny_sets[0], "test": tiny_sets[1], "recipe": FAST, **change}
    assert training.train(**arguments).run_dir != first.run_dir


def test_a_run_is_a_whole_folder(tiny_sets, tmp_path):
    run = training.train(student(), *tiny_sets, FAST, run_dir=tmp_path / "mine")
    assert run.run_dir == tmp_path / "mine"
    names = {path.name for path in run.run_dir.iterdir()}
    assert names == {"config.json", "checkpoint.pt", "weights.safetensors", "history.csv", "result.json"}
    result = json.loads((run.run_dir / "result.json").read_text())
    assert result["accuracy"] == run.accuracy and result["versions"]["torch"] == torch.__version__.split("+")[0]
    pd.testing.assert_frame_equal(pd.read_csv(run.run_dir / "history.csv"), run.history)
    assert torch.equal(weights(models.load_weights(student(5), run.run_dir)), weights(run.model))


def test_a_folder_of_another_run_is_refused_and_left_alone(tiny_sets, tmp_path):
    training.train(student(), *tiny_sets, FAST, run_dir=tmp_path / "mine")
    before = {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()}
    with pytest.raises(ValueError, match="recipe.epochs is 2 there and 3 here"):
        training.train(student(), *tiny_sets, FAST.but(epochs=3), run_dir=tmp_path / "mine")
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("precious")
    with pytest.raises(ValueError, match="not a run"):
        training.train(student(), *tiny_sets, FAST, run_dir=tmp_path / "other")


def test_an_interrupted_run_ends_as_an_unbroken_one(tiny_sets, teacher, tmp_path, monkeypatch):
    recipe = FAST.but(epochs=4)
    whole = training.distill(student(), teacher, *tiny_sets, "dcd+kd", recipe, run_dir=tmp_path / "whole")

    def interrupted(*arguments, original=loop.train_epoch, **named):
        if arguments[-1] == 2:
            raise KeyboardInterrupt
        return original(*arguments, **named)

    monkeypatch.setattr(loop, "train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.distill(student(), teacher, *tiny_sets, "dcd+kd", recipe, run_dir=tmp_path / "broken")
    assert not (tmp_path / "broken" / "result.json").exists()
    monkeypatch.undo()
    resumed = training.distill(student(), teacher, *tiny_sets, "dcd+kd", recipe, run_dir=tmp_path / "broken")
    assert torch.equal(weights(resumed.model), weights(whole.model))
    assert torch.equal(weights(resumed.objective), weights(whole.objective))
    timing = ["seconds", "images_per_second"]
    pd.testing.assert_frame_equal(resumed.history.drop(columns=timing), whole.history.drop(columns=timing))


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


def test_the_teacher_stays_as_it_was(tiny_sets, teacher):
    before = weights(teacher)
    teacher.train().zero_grad()
    training.distill(student(), teacher, *tiny_sets, "dcd+kd", FAST)
    assert torch.equal(weights(teacher), before) and all(parameter.grad is None for parameter in teacher.parameters())


def test_weight_zero_equals_training_alone(tiny_sets, teacher):
    alone = training.train(student(), *tiny_sets, FAST)
    muted = training.distill(student(), teacher, *tiny_sets, "dcd", FAST, weights={"dcd": 0.0})
    assert torch.equal(weights(alone.model), weights(muted.model))


def test_bf16_stays_near_fp32_and_keeps_float32_weights(shapes):
    train, test = shapes
    runs = [
        training.train(student(classes=20), train, test, FAST.but(precision=precision))
        for precision in ("fp32", "bf16")
    ]
    assert all(parameter.dtype == torch.float32 for parameter in runs[1].model.parameters())
    assert runs[0].history.train_loss.iloc[0] == pytest.approx(runs[1].history.train_loss.iloc[0], rel=0.02)


def test_a_loss_that_is_not_finite_names_term_epoch_and_step(tiny_sets, teacher, tmp_path, monkeypatch):
    class Breaks(losses.DCDLoss):
        calls = 0

        def forward(self, *features):
            Breaks.calls += 1
            return super().forward(*features) * (float("nan") if Breaks.calls >= 5 else 1)

    broken = losses.Method("dcd", lambda student, teacher: Breaks(64, 64), "pooled", 1.0)
    monkeypatch.setitem(losses.METHODS, "dcd", broken)
    with pytest.raises(training.NonFiniteLoss, match='"dcd" is nan in epoch 2, step 2 of 3'):
        training.distill(student(), teacher, *tiny_sets, "dcd", FAST, run_dir=tmp_path / "run")
    kept = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert len(kept["history"]) == 1 and all(tensor.isfinite().all() for tensor in kept["model"].values())


def test_a_damaged_checkpoint_is_named(tiny_sets, tmp_path):
    run = training.train(student(), *tiny_sets, FAST, run_dir=tmp_path / "run")
    (run.run_dir / "result.json").unlink()
    (run.run_dir / "checkpoint.pt").write_bytes(b"half")
    with pytest.raises(ValueError, match="checkpoint.pt.*delete it"):
        training.train(student(), *tiny_sets, FAST, run_dir=tmp_path / "run")


def test_evaluate_counts_top1_and_top5(tiny_sets):
    class Constant(nn.Module):
        def forward(self, images):
            return torch.arange(20, 0, -1.0).expand(len(images), 20)

    images = torch.zeros(20, 3, 16, 16, dtype=torch.uint8)
    stats = ((0.5,) * 3, (0.2,) * 3)
    balanced = ImageSet(images, torch.arange(20), tuple(map(str, range(20))), *stats)
    assert training.evaluate(Constant(), balanced) == (5.0, 25.0)
    model = student().train()
    training.evaluate(model, tiny_sets[1])
    assert model.training
    with pytest.raises(ValueError, match="empty"):
        training.evaluate(model, tiny_sets[1].subset([]))


def test_mismatches_are_named_before_anything_is_written(tiny_sets, shapes, teacher, tmp_path):
    wrong = models.create("resnet8", 100)
    with pytest.raises(ValueError, match="3 classes, the network has 100 outputs: pass num_classes=3"):
        training.train(wrong, *tiny_sets, FAST, run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match="3 classes, the teacher has 100 outputs"):
        training.distill(student(), wrong, *tiny_sets, "kd", FAST, run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match="kd, fitnet.*dcd"):
        training.distill(student(), teacher, *tiny_sets, "magic", FAST, run_dir=tmp_path / "run")
    teacher.classes = ("x", "y", "z")
    with pytest.raises(ValueError, match="trained on other classes"):
        training.distill(student(), teacher, *tiny_sets, "kd", FAST, run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match="one data.load"):
        training.train(student(), tiny_sets[0], shapes[1], FAST, run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match="no method features"):
        training.train(nn.Flatten(), *tiny_sets, FAST, run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match="at least 2"):
        training.train(student(), tiny_sets[0].subset([0]), tiny_sets[1], FAST, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
