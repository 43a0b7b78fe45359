"""python -m dcd_utils, from its arguments to what it prints."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dcd_utils import __main__ as command_line
from dcd_utils import data, models, training
from dcd_utils.__main__ import main
from dcd_utils.training import grid, transfer

FAST = training.Recipe(epochs=1, batch_size=16, schedule="one_cycle", milestones=(), precision="fp32")
PAIR = [("resnet14", "resnet8")]


def test_report_into_a_file_and_a_picture(tiny_sets, tmp_path, capsys):
    training.reproduce(PAIR, ["alone", "dcd"], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny")
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- results: logs -->\nold\n<!-- end -->\nafter\n")
    assert main(["report", str(tmp_path / "logs"), "--into", str(page), "--plot", str(tmp_path / "all.png")]) == 0
    text = page.read_text()
    assert text.startswith("before") and text.endswith("after\n") and "| DCD |" in text and "old" not in text
    assert (tmp_path / "all.png").stat().st_size > 5000
    page.write_text("nothing")
    assert main(["report", str(tmp_path / "logs"), "--into", str(page)]) == 1
    assert "<!-- end -->" in capsys.readouterr().err and page.read_text() == "nothing"


@pytest.fixture
def small_shapes(shapes, monkeypatch):
    monkeypatch.setattr(
        training.Profile, "load", lambda self: (shapes[0].subset(range(48)), shapes[1].subset(range(20)))
    )


def test_command_line(small_shapes, tmp_path, capsys):
    common = ["--epochs", "1", "--precision", "fp32", "--batch-size", "16"]
    assert main(["doctor"]) == 0
    assert "torch" in capsys.readouterr().out
    assert main(["train", "--network", "resnet8", "--run-dir", str(tmp_path / "run"), *common]) == 0
    assert (tmp_path / "run" / "result.json").exists()
    pair = ["--teacher", "resnet8", "--student", "resnet8"]
    assert main(["distill", *pair, "--method", "dcd", *common]) == 0
    assert "resnet8-dcd-seed0" in capsys.readouterr().out
    grid = ["--pairs", "resnet8:resnet8", "--methods", "kd", "--seeds", "0", "--results", str(tmp_path / "logs")]
    assert main(["reproduce", *grid, *common]) == 0
    assert main(["report", str(tmp_path / "logs")]) == 0
    assert "| KD |" in capsys.readouterr().out


def test_a_grid_on_held_out_images_says_so(shapes, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(training.Profile, "load", lambda self: shapes)
    monkeypatch.setattr(training, "reproduce", lambda *arguments: given.append(arguments) or tmp_path)
    for options in (["--hold-out", "40"], []):
        command_line._train_grid(command_line._parser().parse_args(["reproduce", *options]))
    (*_, train, test), names = given[0][:5], [arguments[7] for arguments in given]
    assert (len(train), len(test)) == (len(shapes[0]) - 40, 40)
    assert names == ["shapes, 40 training images held out to test on", "shapes"]


def test_command_line_says_what_is_wrong(small_shapes, capsys):
    assert main(["train", "--network", "resnet9"]) == 1
    assert "resnet8, resnet14" in capsys.readouterr().err
    assert main(["reproduce", "--pairs", "resnet8"]) == 1
    assert "TEACHER:STUDENT" in capsys.readouterr().err
    assert main(["train", "--epochs", "0"]) == 1
    assert "epochs=0" in capsys.readouterr().err
    assert main(["train", "--side", "64"]) == 1
    assert "only files of your own take --side" in capsys.readouterr().err


def test_distill_says_what_cannot_work_before_the_teacher_is_trained(small_shapes, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("trained"))
    for options, words in {
        ("--student", "resnet9"): "resnet8, resnet14",
        ("--student", "torchvision/vit_b_16"): '"torchvision/vit_b_16" does not take images of 32x32 (Wrong image',
        ("--teacher", "resnet8x4", "--student", "resnet8", "--method", "fsp"): "channels",
        ("--student", "resnet8", "--cache", "nowhere"): 'choose "auto"',
        ("--student", "resnet8", "--method", "alone"): "dcd_utils train",
    }.items():
        assert main(["distill", *options]) == 1
        assert words in capsys.readouterr().err
    models.save_weights(models.create("resnet14", 20, seed=3), tmp_path / "teacher.safetensors")
    pair = ["--teacher", "resnet14", "--student", "resnet8", "--method", "kd", "--epochs", "1"]
    assert main(["distill", *pair, "--teacher-weights", str(tmp_path / "teacher.safetensors")]) == 0
    assert "resnet14: " in (said := capsys.readouterr().out) and "(weights from a file)" in said


def test_ctrl_c_is_no_traceback(small_shapes, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", stop)
    assert main(["train"]) == 130
    assert "the same command goes on after it" in capsys.readouterr().err


def test_a_grid_with_a_failed_run_still_prints_its_table(small_shapes, monkeypatch, capsys, tmp_path):
    def distill(*_, **__):
        raise training.NonFiniteLoss('the loss term "kd" is nan in epoch 1')

    monkeypatch.setattr(grid, "distill", distill)
    command = ["reproduce", "--pairs", "resnet8:resnet8", "--methods", "kd", "--seeds", "0", "--epochs", "1"]
    assert main([*command, "--results", str(tmp_path / "logs")]) == 1
    said = capsys.readouterr()
    assert "| KD | failed |" in said.out and "1 of 2 runs failed" in said.err


GRID = ["reproduce", "--pairs", "resnet8:resnet8", "--seeds", "0", "--precision", "fp32", "--batch-size", "32"]
GRID += ["--train-size", "96", "--test-size", "20"]


def shell(folder: Path, *arguments: str) -> subprocess.Popen:
    """The command line in a process of its own, with a data folder of its own."""
    settings = {**os.environ, "DCD_DATA": str(folder), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    command = [sys.executable, "-m", "dcd_utils", *GRID, "--results", str(folder / "logs"), *arguments]
    return subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def figures(folder: Path) -> dict[str, tuple]:
    """What the logs say, but for times."""
    logs = {path.name: json.loads(path.read_text()) for path in (folder / "logs").glob("*.json")}
    for log in logs.values():
        for row in log["history"]:
            del row["seconds"], row["images_per_second"]
    return {name: (log["accuracy"], log["config"], log["history"]) for name, log in logs.items()}


def test_a_killed_grid_goes_on_to_the_same_figures(tmp_path):
    arguments = ["--methods", "alone", "dcd+kd", "--epochs", "4"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = shell(killed, *arguments)
    until = time.monotonic() + 120
    while not (begun := list(killed.glob("runs/resnet8-dcd+kd-seed0-*/checkpoint.pt"))):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.02)
    process.kill()
    assert process.wait() != 0
    assert not (begun[0].parent / "result.json").exists(), "killed in the middle of the student's run"
    assert len(figures(killed)) == 2

    process = shell(killed, *arguments)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0 and "3 runs, 2 of them there already" in output, output
    process = shell(whole, *arguments)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert figures(killed) == figures(whole) and len(figures(whole)) == 3


def test_processes_share_a_grid_and_train_each_run_once(tmp_path):
    process = shell(tmp_path, "--methods", "alone", "kd", "dcd", "--epochs", "2", "--jobs", "2")
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert len(figures(tmp_path)) == 4 and "| DCD |" in output
    # teacher and student alone are the same run here: same network, seed and recipe
    trained = sorted(line.split(":")[0] for line in output.splitlines() if " after 2 epochs" in line)
    assert trained == ["resnet8-alone-seed0", "resnet8-dcd-seed0", "resnet8-kd-seed0"]


def test_workers_end_with_their_parent(tmp_path):
    process = shell(tmp_path, "--methods", "alone", "kd", "--epochs", "500", "--jobs", "2")
    until = time.monotonic() + 120
    while not (begun := list(tmp_path.glob("runs/*/checkpoint.pt"))):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    time.sleep(3)
    last = begun[0].stat().st_mtime_ns
    time.sleep(3)  # an epoch takes a fraction of that
    assert begun[0].stat().st_mtime_ns == last and not (begun[0].parent / "result.json").exists()


class Answers(list):
    put = list.append


def test_a_process_of_many_answers_what_is_wrong(small_shapes, monkeypatch):
    monkeypatch.setattr(command_line.torch, "set_num_threads", lambda number: None)
    answers = Answers()
    command_line._work(command_line._parser().parse_args(["reproduce", "--methods", "dcb"]), answers)
    [error] = answers
    assert 'method "dcb" does not exist' in error


def test_published_figures_from_the_command_line(tiny_sets, tmp_path, capsys):
    pair = [("resnet56", "resnet20")]
    training.reproduce(pair, ["alone"], [0], *tiny_sets, FAST, tmp_path / "logs", "CIFAR-100")
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- published: logs -->\nold\n<!-- end -->\n")
    capsys.readouterr()
    assert main(["report", str(tmp_path / "logs"), "--published", "--into", str(page)]) == 0
    text = capsys.readouterr().out
    assert "40 training and 20 test images instead of 50,000 and 10,000" in text and "| 71.81 |" in text
    assert "| 71.81 |" in page.read_text() and "old" not in page.read_text()


def test_teacher_weights_from_the_command_line(small_shapes, tmp_path, capsys):
    models.save_weights(models.create("resnet8", 20, seed=3), tmp_path / "teacher.safetensors")
    grid = ["reproduce", "--methods", "kd", "--seeds", "0", "--epochs", "1", "--results", str(tmp_path / "logs")]
    file = str(tmp_path / "teacher.safetensors")
    assert main([*grid, "--pairs", "resnet8:resnet8", "--teacher-weights", file]) == 0
    assert "(weights from a file)" in capsys.readouterr().out
    assert main([*grid, "--pairs", "resnet8:resnet8", "resnet14:resnet8", "--teacher-weights", file]) == 1
    assert "TEACHER=FILE for each of resnet8, resnet14" in capsys.readouterr().err
    assert main([*grid, "--pairs", "resnet8:resnet14", "--teacher-weights", f"resnet8={file}"]) == 0


def test_sizes_are_for_shapes_only(capsys):
    assert main(["train", "--dataset", "cifar100", "--train-size", "5"]) == 1
    assert "has the size it has" in capsys.readouterr().err
    assert main(["reproduce", "--jobs", "0"]) == 1
    assert "--jobs 0" in capsys.readouterr().err


@pytest.fixture
def small_target(small_shapes, monkeypatch):
    """A small new_shapes, and stl10 in the same clothes."""
    sets = data.load("new_shapes", train_size=96, test_size=40, device="cpu")
    monkeypatch.setattr(command_line.data, "load", lambda name, root=None, **sizes: sets)


TRANSFER = ["transfer", "--teacher", "resnet8", "--student", "resnet8", "--seeds", "0", "1"]
TRANSFER += ["--epochs", "1", "--precision", "fp32", "--batch-size", "16"]


def test_transfer_logs_each_probe_once(small_target, tmp_path, capsys):
    arguments = [*TRANSFER, "--methods", "random", "alone", "dcd", "--results", str(tmp_path)]
    assert main(arguments) == 0
    folder = tmp_path / "transfer-shapes-new_shapes"
    logs = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    methods = ("random-seed0", "random-seed1", "alone-seed0", "alone-seed1", "dcd-seed0", "dcd-seed1", "teacher-seed0")
    assert logs.keys() == {f"resnet8-resnet8-{method}" for method in methods}
    log = logs["resnet8-resnet8-dcd-seed1"]
    assert log["source"] == "shapes" and log["target"] == "new_shapes" and log["network"] == "resnet8"
    assert 0 <= log["accuracy"] <= 100 and log["train_accuracy"] > 100 / 16 and log["C"] > 0 and log["versions"]
    assert log["config"]["run"]["method"] == "dcd" and log["config"]["run"]["seed"] == log["seed"] == 1
    printed = capsys.readouterr().out
    assert "96 training and 40 test images" in printed and "guessing gives 6.25" in printed
    means = {line.split("|")[1].strip(): line for line in printed.splitlines() if line.startswith("| ")}
    mean = (logs["resnet8-resnet8-dcd-seed0"]["accuracy"] + log["accuracy"]) / 2
    assert f"| {mean:.2f} |" in means["DCD"] and "| 2 |" in means["DCD"] and "| 1 |" in means["teacher"]
    table = transfer.read_probes(folder)
    assert list(dict.fromkeys(table.method)) == ["random", "teacher", "alone", "dcd"]
    assert table.source_accuracy.isna().sum() == 2, "an untrained network has no accuracy on the source"

    times = {path: path.stat().st_mtime_ns for path in folder.glob("*.json")}
    assert main(arguments) == 0
    assert times == {path: path.stat().st_mtime_ns for path in folder.glob("*.json")}
    assert capsys.readouterr().out.count("logged before") == 7
    assert main(["report", str(folder)]) == 0
    assert "| DCD |" in capsys.readouterr().out
    assert main(["report", str(folder), "--published"]) == 1

    assert main([*arguments, "--learning-rate", "0.01"]) == 1
    error = capsys.readouterr().err
    assert "is the log of another config (run.recipe.learning_rate is " in error and "another results folder" in error
    assert times == {path: path.stat().st_mtime_ns for path in folder.glob("*.json")}


def test_transfer_from_cifar100_prints_what_was_published(small_target, tmp_path, capsys):
    arguments = [*TRANSFER, "--methods", "alone", "--label", "CIFAR-100", "--to", "stl10", "--results", str(tmp_path)]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("ours: mean" in line and "published" in line for line in lines)
    assert any(line.startswith("| student alone |") and "| 69.70 |" in line for line in lines)
    assert any(line.startswith("| DCD+KD | not run |") and "| 72.50 |" in line for line in lines)
    assert any("Not our probe" in line for line in lines)


def test_transfer_says_what_is_wrong(small_shapes, shapes, monkeypatch, capsys):
    monkeypatch.setattr(training, "course_runs", lambda *_: pytest.fail("nothing must be trained"))
    assert main([*TRANSFER, "--methods", "dcb"]) == 1
    assert 'method "dcb" does not exist' in capsys.readouterr().err
    wide = ["transfer", "--teacher", "resnet8x4", "--student", "resnet8", "--methods", "fsp"]
    assert main(wide) == 1
    assert "channels" in capsys.readouterr().err
    assert main([*TRANSFER, "--to", "photographs"]) == 1
    assert 'data set "photographs" does not exist' in capsys.readouterr().err
    monkeypatch.setattr(command_line.data, "load", lambda *_: (shapes[0].subset(range(48)), shapes[1]))
    assert main([*TRANSFER, "--to", "shapes"]) == 1
    assert "choose another data set" in capsys.readouterr().err


def test_there_is_no_table_without_logs(tmp_path):
    with pytest.raises(FileNotFoundError, match="python -m dcd_utils transfer first"):
        transfer.read_probes(tmp_path)
