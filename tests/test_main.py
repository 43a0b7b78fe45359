"""python -m dcd_utils, from its arguments to what it prints."""

import contextlib
import inspect
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from dcd_utils import __main__ as command_line
from dcd_utils import data, experiments, models, training
from dcd_utils.__main__ import main
from dcd_utils.experiments import doctor, speed
from dcd_utils.experiments.report import report, speed_table
from dcd_utils.records import read_record
from dcd_utils.training import stages
from dcd_utils.training.config import weights_digest

FAST = training.Recipe(epochs=1, batch_size=16, schedule="one_cycle", milestones=(), precision="fp32")
PAIR = [("resnet14", "resnet8")]
QUICKLY = ["--epochs", "1", "--precision", "fp32", "--batch-size", "16"]


@pytest.fixture
def small_shapes(shapes, monkeypatch):
    sets = shapes[0].subset(range(48)), shapes[1].subset(range(20))
    monkeypatch.setattr(experiments.Profile, "load", lambda self, **options: sets)


@pytest.fixture
def untrained(monkeypatch):
    monkeypatch.setattr(stages, "fit", lambda *_: pytest.fail("trained"))


def test_every_command_works(small_shapes, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "images_per_second", lambda network, *_: 10.0)
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert f"         data: {tmp_path / 'data'}\n" in said and "resnet8: 10 images/s in training" in said
    assert main(["train", "--network", "resnet8", "--run-dir", str(tmp_path / "run"), *QUICKLY]) == 0
    assert f"kept in {tmp_path / 'run'}" in capsys.readouterr().out
    assert read_record(tmp_path / "run" / "result.json")["state"] == "finished"
    assert main(["distill", "--teacher", "resnet8", "--student", "resnet8", "--method", "dcd", *QUICKLY]) == 0
    assert "resnet8-dcd-seed0: " in capsys.readouterr().out
    grid = ["--pairs", "resnet8:resnet8", "--methods", "kd", "--seeds", "0", "--results", str(tmp_path / "r")]
    assert main(["reproduce", *grid, *QUICKLY]) == 0
    printed = capsys.readouterr().out
    assert "resnet8 to resnet8 on shapes" in printed and "| KD |" in printed
    assert main(["report", str(tmp_path / "r")]) == 0
    assert printed.endswith(capsys.readouterr().out)


def test_results_lie_in_the_data_folder_by_the_name_of_the_data(small_shapes, tmp_path, capsys):
    assert main(["reproduce", "--pairs", "resnet8:resnet8", "--methods", "alone", "--seeds", "0", *QUICKLY]) == 0
    assert len(list((tmp_path / "data" / "records" / "shapes").iterdir())) == 1


COMMON = ["--profile", "full", "--dataset", "folder", "--root", "there", "--epochs", "3", "--batch-size", "10"]
COMMON += ["--learning-rate", "0.02", "--precision", "bf16", "--side", "48", "--hold-out", "40", "--retrain"]
COMMON += ["--stream", "--workers", "3", "--micro-batch", "4", "--checkpoint-steps", "9", "--sync-batch-norm"]
CACHE = ["--cache", "memory"]
RECIPE = training.QUICK.but(epochs=3, batch_size=10, learning_rate=0.02, precision="bf16")
EXECUTION = training.Execution(micro_batch=4, sync_batch_norm=True, checkpoint_steps=9)
SIZES = {"train-size", "test-size"}  # of shapes alone, so they cannot stand beside --side
COMMANDS = {
    "train": (training, "train", [*COMMON, "--network", "resnet14", "--seed", "5", "--run-dir", "d"]),
    "distill": (
        training,
        "distill",
        [*COMMON, *CACHE, "--teacher", "resnet14", "--student", "resnet8", "--method", "at"]
        + ["--teacher-weights", "FILE", "--seed", "5", "--run-dir", "d"],
    ),
    "reproduce": (
        experiments,
        "reproduce",
        [*COMMON, *CACHE, "--pairs", "resnet14:resnet8", "vgg8:resnet8", "--methods", "kd", "at"]
        + ["--seeds", "7", "8", "--label", "mine", "--results", "r", "--teacher-seed", "9"]
        + ["--teacher-weights", "vgg8=f"],
    ),
    "transfer": (
        command_line,
        "transfer",
        [*COMMON, "--teacher", "resnet14", "--student", "resnet8", "--to", "stl10", "--to-root", "elsewhere"]
        + ["--methods", "kd", "--seeds", "7", "8", "--label", "mine", "--results", "r"],
    ),
    "benchmark": (
        speed,
        "benchmark",
        ["--teacher", "resnet14", "--student", "resnet8", "--batch-size", "8"]
        + ["--steps", "2", "--rounds", "5", "--precision", "bf16", "--json", "j"],
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_reaches_the_function_that_it_is_meant_for(command, shapes, monkeypatch, tmp_path):
    owner, name, options = COMMANDS[command]
    models.save_weights(models.create("resnet14", 20, seed=3), tmp_path / "FILE.safetensors")
    options = [str(tmp_path / "FILE.safetensors") if option == "FILE" else option for option in options]
    calls, loads, written, signature = [], [], [], inspect.signature(getattr(owner, name))

    def called(*arguments, **settings):
        bound = signature.bind(*arguments, **settings)
        bound.apply_defaults()
        calls.append(SimpleNamespace(**bound.arguments))
        return [] if command == "transfer" else SimpleNamespace(run_dir="d")

    monkeypatch.setattr(owner, name, called)
    monkeypatch.setattr(experiments.Profile, "load", lambda self, **sizes: loads.append((self, sizes)) or shapes)
    monkeypatch.setattr(command_line.data, "load", lambda *given, **side: loads.append((*given, side)) or shapes)
    monkeypatch.setattr(experiments, "report", lambda folder: f"the records in {folder}")
    monkeypatch.setattr(command_line, "speed_table", lambda records: "a table")
    monkeypatch.setattr(command_line, "write_record", lambda path, record: written.append(str(path)))
    assert main([command, *options]) == 0
    [call] = calls

    used = {option[2:] for option in options if option.startswith("--")} | (SIZES if command != "benchmark" else set())
    [choices] = [action.choices for action in command_line._parser()._actions if action.choices]
    offered = {string for action in choices[command]._actions for string in action.option_strings}
    assert {f"--{option}" for option in used} == offered - {"-h", "--help"}, "no option is forgotten"

    if command == "benchmark":
        assert (call.teacher, call.student, call.batch_size) == ("resnet14", "resnet8", 8)
        assert (call.steps, call.rounds, call.precision) == (2, 5, "bf16")
        assert written == ["j"]
        return
    profile, sizes = loads[0]
    assert (profile.name, profile.dataset, profile.root) == ("full", "folder", "there")
    assert sizes == {"side": 48, "stream": True, "workers": 3}
    assert (len(call.train), len(call.test)) == (len(shapes[0]) - 40, 40), "of the training images, held out"
    if command == "transfer":
        assert call.profile.recipe == call.profile.teacher_recipe == RECIPE and call.profile.retrain
        assert call.profile.execution == EXECUTION
        assert (call.profile.teacher, call.profile.student, call.profile.seeds) == ("resnet14", "resnet8", (7, 8))
        assert loads[1] == ("stl10", "elsewhere", {"side": 48}) and list(call.targets) == ["stl10"]
    else:
        assert call.recipe == RECIPE and call.retrain and call.execution == EXECUTION
        assert command == "train" or call.cache == "memory"
    if command in ("train", "distill"):
        network = call.model if command == "train" else call.student
        assert network.name == ("resnet14" if command == "train" else "resnet8")
        assert weights_digest(network) == weights_digest(models.create(network.name, 20, seed=5))
        assert (call.seed, call.run_dir) == (5, "d")
    if command == "distill":
        assert call.method == "at" and call.teacher.name == "resnet14"
        assert weights_digest(call.teacher) == weights_digest(models.create("resnet14", 20, seed=3))
    if command == "reproduce":
        assert call.pairs == PAIR + [("vgg8", "resnet8")] and call.seeds == (7, 8)
        assert (call.teacher_recipe, call.teacher_seed, call.teacher_weights) == (RECIPE, 9, {"vgg8": "f"})
    if command in ("reproduce", "transfer"):
        assert list(call.methods) == (["kd", "at"] if command == "reproduce" else ["kd"])
        assert call.train.name == call.test.name == "mine" and call.results == Path("r")


def test_sizes_of_shapes_reach_them(shapes, monkeypatch):
    sizes, calls = [], []
    monkeypatch.setattr(experiments.Profile, "load", lambda self, **options: sizes.append(options) or shapes)
    run = SimpleNamespace(run_dir="d")
    monkeypatch.setattr(training, "train", lambda *arguments, **_: calls.append(arguments) or run)
    assert main(["train", "--train-size", "50", "--test-size", "30"]) == 0 and main(["train"]) == 0
    assert sizes == [{"train_size": 50, "test_size": 30}, {}]
    assert [arguments[3] for arguments in calls] == [training.QUICK_TEACHER] * 2, "as the profile has it"


def test_a_grid_on_held_out_images_says_so(small_shapes, shapes, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(experiments.Profile, "load", lambda self, **options: shapes)
    grid = ["--pairs", "resnet8:resnet8", "--methods", "alone", "--seeds", "0", "--hold-out", "180", *QUICKLY]
    assert main(["reproduce", *grid, "--results", str(tmp_path / "r")]) == 0
    said = capsys.readouterr().out
    assert "on shapes, 180 training images held out to test on: 1 epoch" in said
    assert "top-1 % on these." in said and "on the test images" not in said


WRONG = {
    "an unknown network": (["train", "--network", "resnet9"], "resnet8, resnet14"),
    "a pair of one": (["reproduce", "--pairs", "resnet8"], "TEACHER:STUDENT"),
    "no epoch": (["train", "--epochs", "0"], "epochs=0"),
    "a side of shapes": (["train", "--side", "64"], "only files of your own take --side"),
    "a size of CIFAR-100": (["train", "--dataset", "cifar100", "--train-size", "5"], "has the size it has"),
    "an unknown profile": (["reproduce", "--profile", "fast"], "choose one of quick, full"),
    "an unknown student": (["distill", "--student", "resnet9"], "resnet8, resnet14"),
    "a student of larger images": (
        ["distill", "--student", "torchvision/vit_b_16"],
        '"torchvision/vit_b_16" does not take images of 32x32 (Wrong image',
    ),
    "a method that cannot work": (
        ["distill", "--teacher", "resnet8x4", "--student", "resnet8", "--method", "fsp"],
        "channels",
    ),
    "no place for answers": (["distill", "--student", "resnet8", "--cache", "nowhere"], 'choose "auto"'),
    "nothing to distil": (["distill", "--student", "resnet8", "--method", "alone"], "dcd_utils train"),
    "no folder of records": (["report"], "report needs a folder of records"),
    "an empty folder": (["report", "no-such-folder"], "no records (*.json)"),
    "an unknown method to probe": (["transfer", "--methods", "dcb"], 'method "dcb" does not exist'),
    "an unknown target": (["transfer", "--to", "photographs"], 'data set "photographs" does not exist'),
    "too small a batch": (["benchmark", "--batch-size", "1"], "batch_size=1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_before_anything_is_trained(small_shapes, untrained, capsys, case):
    arguments, words = WRONG[case]
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("python -m dcd_utils: ") and words in said


@pytest.mark.parametrize("side", [[], ["--side", "64"]])
def test_a_root_without_a_data_set_is_no_run_on_shapes(untrained, capsys, side):
    assert main(["distill", "--root", "my_images", *side]) == 1
    assert 'it takes no root: did you mean the data set "folder" (--dataset folder)?' in capsys.readouterr().err


def test_distill_takes_a_teacher_from_a_file(small_shapes, tmp_path, capsys):
    models.save_weights(models.create("resnet14", 20, seed=3), tmp_path / "teacher.safetensors")
    pair = ["--teacher", "resnet14", "--student", "resnet8", "--method", "kd", *QUICKLY]
    assert main(["distill", *pair, "--teacher-weights", str(tmp_path / "teacher.safetensors")]) == 0
    said = capsys.readouterr().out
    assert "resnet14: " in said and "(weights from a file)" in said and "resnet14-alone" not in said


def test_distill_fine_tunes_a_teacher_of_other_classes(small_shapes, tmp_path, capsys, monkeypatch):
    models.save_weights(models.create("torchvision/resnet18", 7, seed=3), tmp_path / "of7.safetensors")
    learned = []

    def train(network, *arguments, original=training.train, **ways):
        learned.append((network.name, arguments[2].learning_rate))
        return original(network, *arguments, **ways)

    monkeypatch.setattr(training, "train", train)
    pair = ["--teacher", "torchvision/resnet18", "--student", "resnet8", "--method", "kd", *QUICKLY]
    assert main(["distill", *pair, "--teacher-weights", str(tmp_path / "of7.safetensors")]) == 0
    said = capsys.readouterr().out
    assert "shapes: 48 training and 20 test images of 32x32, 20 classes, on cpu" in said
    assert "torchvision/resnet18" in said and "its classifier is fresh, so it is fine-tuned first" in said
    assert learned == [("torchvision/resnet18", training.QUICK.learning_rate / 10)]


def test_a_grid_takes_teachers_from_files(small_shapes, tmp_path, capsys):
    models.save_weights(models.create("resnet8", 20, seed=3), tmp_path / "teacher.safetensors")
    grid = ["reproduce", "--methods", "kd", "--seeds", "0", "--results", str(tmp_path / "r"), *QUICKLY]
    file = str(tmp_path / "teacher.safetensors")
    assert main([*grid, "--pairs", "resnet8:resnet8", "--teacher-weights", file]) == 0
    assert "(weights from a file)" in capsys.readouterr().out
    assert main([*grid, "--pairs", "resnet8:resnet8", "resnet14:resnet8", "--teacher-weights", file]) == 1
    assert "TEACHER=FILE for each of resnet8, resnet14" in capsys.readouterr().err
    assert main([*grid, "--pairs", "resnet8:resnet14", "--teacher-weights", f"resnet8={file}"]) == 0


def test_a_grid_with_a_failed_run_still_prints_its_table(small_shapes, monkeypatch, capsys, tmp_path):
    def fit(job, *rest, original=stages.fit):
        if "kd" in job.objective.losses:
            raise training.NonFiniteLoss('the loss term "kd" is nan in epoch 1')
        return original(job, *rest)

    monkeypatch.setattr(stages, "fit", fit)
    command = ["reproduce", "--pairs", "resnet8:resnet8", "--methods", "kd", "--seeds", "0", *QUICKLY]
    assert main([*command, "--results", str(tmp_path / "r")]) == 1
    said = capsys.readouterr()
    assert "| KD | failed |" in said.out and "1 of 2 runs failed" in said.err


def test_ctrl_c_is_no_traceback(small_shapes, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", stop)
    assert main(["train"]) == 130
    assert "the same command goes on after it" in capsys.readouterr().err


def test_report_renews_pages_and_draws(tiny_sets, tmp_path, capsys):
    sets = [replace(images, name="tiny") for images in tiny_sets]
    experiments.reproduce(PAIR, ["alone", "dcd"], [0], *sets, FAST, tmp_path / "results" / "r")
    pages = [tmp_path / "a.md", tmp_path / "b.md"]
    for page in pages:
        page.write_text("before\n<!-- results: r -->\nold\n<!-- end -->\nafter\n", encoding="utf-8")
    assert main(["report", str(tmp_path / "results"), "--into", *map(str, pages)]) == 0
    table = report(tmp_path / "results" / "r")
    expected = f"before\n<!-- results: r -->\n{table}<!-- end -->\nafter\n"
    assert [page.read_text(encoding="utf-8") for page in pages] == [expected] * 2 and "| DCD |" in table
    assert main(["report", str(tmp_path / "results" / "r"), "--plot", str(tmp_path / "all.png")]) == 0
    assert (tmp_path / "all.png").stat().st_size > 5000
    pages[0].write_text("nothing", encoding="utf-8")
    capsys.readouterr()
    assert main(["report", str(tmp_path / "results"), "--into", str(pages[0])]) == 1
    assert "<!-- end -->" in capsys.readouterr().err and pages[0].read_text(encoding="utf-8") == "nothing"


def test_pages_are_filled_from_the_data_folder_unless_another_is_named(monkeypatch, tmp_path):
    filled = []
    monkeypatch.setattr(command_line, "fill", lambda page, results: filled.append((page, results)))
    assert main(["report", "--into", "a.md", "b.md"]) == 0
    assert filled == [(Path(name), tmp_path / "data" / "results") for name in ("a.md", "b.md")]


def test_published_figures(tiny_sets, tmp_path, capsys):
    sets = [replace(images, name="CIFAR-100") for images in tiny_sets]
    experiments.reproduce([("resnet56", "resnet20")], ["alone", "kd"], [0], *sets, FAST, tmp_path / "r")
    capsys.readouterr()
    assert main(["report", str(tmp_path / "r"), "--published"]) == 0
    text = capsys.readouterr().out
    assert "40 training and 20 test images instead of 50,000 and 10,000" in text and "| 70.66 |" in text


def test_benchmark(tmp_path, capsys):
    arguments = ["benchmark", "--teacher", "resnet14", "--student", "resnet8", "--steps", "1", "--rounds", "1"]
    arguments += ["--batch-size", "4", "--precision", "fp32"]
    assert main([*arguments, "--json", str(tmp_path / "r" / "b.json")]) == 0
    table = capsys.readouterr().out
    assert table == speed_table([read_record(tmp_path / "r" / "b.json")]) + "\n"
    assert "| resnet14 to resnet8 |" in table and "fp32, batch 4, median of 1 rounds" in table
    assert main(["report", str(tmp_path / "r"), "--plot", str(tmp_path / "b.png")]) == 0
    assert capsys.readouterr().out == table and (tmp_path / "b.png").stat().st_size > 5000
    assert main(["report", str(tmp_path / "r"), "--published"]) == 1


@pytest.fixture
def small_target(small_shapes, monkeypatch):
    """A small new_shapes, and stl10 in the same clothes."""
    sets = data.load("new_shapes", train_size=96, test_size=40, device="cpu")
    monkeypatch.setattr(command_line.data, "load", lambda name, root=None, **sizes: sets)


TRANSFER = ["transfer", "--teacher", "resnet8", "--student", "resnet8", "--seeds", "0", "1", *QUICKLY]


def test_transfer(small_target, tmp_path, capsys):
    arguments = [*TRANSFER, "--methods", "random", "dcd", "--results", str(tmp_path)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "96 training and 40 test images" in printed and "guessing gives 6.25" in printed
    records = [read_record(path) for path in (tmp_path / "transfer-shapes-new_shapes").iterdir()]
    accuracies = [record["accuracy"] for record in records if record["method"] == "dcd"]
    rows = {line.split("|")[1].strip(): line for line in printed.splitlines() if line.startswith("| ")}
    assert len(records) == 5 and f"| {sum(accuracies) / 2:.2f} ± " in rows["DCD"] and "(2) |" in rows["DCD"]
    assert "(1)" in rows["teacher"] and "(2)" in rows["untrained student"]
    assert main(["report", str(tmp_path / "transfer-shapes-new_shapes")]) == 0
    assert printed.endswith(capsys.readouterr().out)


def test_transfer_from_cifar100_prints_what_was_published(small_target, tmp_path, capsys):
    arguments = [*TRANSFER, "--methods", "alone", "--label", "CIFAR-100", "--to", "stl10", "--results", str(tmp_path)]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("published" in line for line in lines)
    assert any(line.startswith("| student alone |") and "| 69.70 |" in line for line in lines)
    assert any(line.startswith("| DCD+KD | not run |") and "| 72.50 |" in line for line in lines)


GRID = ["reproduce", "--pairs", "resnet8:resnet8", "--seeds", "0", "--precision", "fp32", "--batch-size", "32"]
GRID += ["--train-size", "96", "--test-size", "20"]


@pytest.fixture
def shell():
    """Start the command line in a process group of its own, with a data folder of its own; none outlives its test."""
    processes = []

    def start(folder: Path, *arguments: str, results: Path | None = None) -> subprocess.Popen:
        settings = {**os.environ, "DCD_DATA": str(folder), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
        command = [sys.executable, "-m", "dcd_utils", *GRID, "--results", str(results or folder / "r"), *arguments]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8"}
        processes.append(subprocess.Popen(command, env=settings, start_new_session=True, **streams))
        return processes[-1]

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, it would be ignored in children too
    yield start
    signal.signal(signal.SIGINT, before)
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()
        process.wait()
        process.stdout.close()


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=280)
    assert process.returncode == 0, output
    return output


def wait_for(process: subprocess.Popen, folder: Path, pattern: str) -> Path:
    until = time.monotonic() + 200
    while not (begun := sorted(folder.glob(pattern))):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.02)
    return begun[0].parent


def figures(folder: Path) -> dict[str, tuple]:
    """What the records of a folder say, but for times."""
    records = {path.name: read_record(path) for path in folder.iterdir()}
    for record in records.values():
        for row in record["history"]:
            del row["seconds"], row["images_per_second"]
    keys = ("state", "accuracy", "config", "history", "final_weights")
    return {name: tuple(record[key] for key in keys) for name, record in records.items()}


@pytest.mark.timeout(900)
def test_a_killed_grid_goes_on_to_the_same_figures(shell, tmp_path):
    arguments = ["--methods", "alone", "dcd+kd", "--epochs", "4"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = shell(killed, *arguments)
    run = wait_for(process, killed, "runs/resnet8-dcd+kd-seed0-*/checkpoint-*.pt")
    process.kill()
    assert process.wait() != 0
    assert read_record(run / "result.json")["state"] == "running", "killed in the middle of the student's run"
    assert len(figures(killed / "r")) == 1, "teacher and student alone are one run"
    assert "2 runs, 1 of them there already" in finish(shell(killed, *arguments))
    finish(shell(whole, *arguments))
    assert figures(killed / "r") == figures(whole / "r") and len(figures(whole / "r")) == 2


@pytest.mark.timeout(900)
def test_shells_share_a_grid_and_train_each_run_once(shell, tmp_path):
    shells = [shell(tmp_path, "--methods", "alone", "kd", "dcd", "--epochs", "2") for _ in range(2)]
    outputs = [finish(process) for process in shells]
    assert len(figures(tmp_path / "r")) == 3 and all("| DCD |" in output for output in outputs)
    # teacher and student alone are the same run here: same network, seed and recipe
    lines = "\n".join(outputs).splitlines()
    trained = sorted(line.split(":")[0] for line in lines if " after 2 epochs" in line)
    assert trained == ["resnet8-alone-seed0", "resnet8-dcd-seed0", "resnet8-kd-seed0"]


@pytest.mark.timeout(900)
def test_two_processes_that_finish_the_same_run_write_one_whole_record(shell, tmp_path):
    arguments = ["--methods", "kd", "--epochs", "1"]
    processes = [shell(tmp_path / name, *arguments, results=tmp_path / "r") for name in ("a", "b")]
    for process in processes:
        finish(process)
    found = figures(tmp_path / "r")
    assert [name.rpartition("-")[0] for name in sorted(found)] == ["resnet8-alone-seed0", "resnet8-kd-seed0"]
    assert {state for state, *_ in found.values()} == {"finished"}, "and nothing else lies in the folder"


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.timeout(900)
def test_ctrl_c_in_a_terminal_stops_without_a_traceback(shell, tmp_path):
    process = shell(tmp_path, "--methods", "alone", "kd", "--epochs", "500")
    run = wait_for(process, tmp_path, "runs/*/checkpoint-*.pt")
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 130 and "the same command goes on after it" in output
    assert "Traceback" not in output, output
    assert read_record(run / "result.json")["state"] == "running"
