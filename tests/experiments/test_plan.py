"""The planner: every run once, records that carry a grid on, and what cannot be trained."""

import contextlib
import re
import shutil
import threading
import time
from pathlib import Path

import pytest
import torch

from dcd_utils import experiments, models, training
from dcd_utils.experiments import grid as grids
from dcd_utils.experiments import plan
from dcd_utils.experiments.plan import Plan, begin_teacher, work_through
from dcd_utils.files import data_dir
from dcd_utils.records import read_record
from dcd_utils.training import api, stages
from dcd_utils.training.config import weights_digest
from dcd_utils.training.runs import RunFolder

FAST = training.Recipe(epochs=1, batch_size=16, schedule="one_cycle", milestones=(), precision="fp32")
WILD = FAST.but(learning_rate=1e6, epochs=3)  # stops being finite at once
PAIR = [("resnet14", "resnet8")]
SMALL = experiments.Profile("small", "shapes", None, "resnet14", "resnet8", FAST.but(epochs=2), FAST, 7, (3, 4), 50)


def grid(sets, folder: Path, methods, seeds=(0,), recipe=FAST, pairs=PAIR, **settings) -> dict[str, dict]:
    """Run a grid; return the records of its folder by name, without the hash."""
    experiments.reproduce(pairs, methods, seeds, *sets, recipe, folder, **settings)
    return records_of(folder)


def records_of(folder: Path) -> dict[str, dict]:
    records = {path.stem.rpartition("-")[0]: read_record(path) for path in sorted(folder.glob("*.json"))}
    assert len(records) == len(list(folder.iterdir())), "nothing but records, no two of one name"
    return records


@contextlib.contextmanager
def no_training():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "fit", lambda *_: pytest.fail("trained"))
        yield


@pytest.fixture
def trained(monkeypatch):
    """What was trained, in order: (network, objective's terms)."""
    runs = []

    def fit(job, *rest, original=stages.fit):
        runs.append((job.model.name, "+".join(job.objective.losses) or "alone", job.seed))
        return original(job, *rest)

    monkeypatch.setattr(stages, "fit", fit)
    return runs


def test_a_grid_keeps_a_record_per_run_and_goes_on_where_it_stopped(tiny, tmp_path, trained, capsys):
    grid(tiny, tmp_path / "r", ["alone"])
    assert trained == [("resnet14", "alone", 0), ("resnet8", "alone", 0)]
    records = grid(tiny, tmp_path / "r", ["alone", "dcd+kd"], [0, 1])
    assert len(trained) == 5, "teacher and first student were there already"
    assert "5 runs, 2 of them there already" in capsys.readouterr().out
    assert set(records) == {
        "resnet14-alone-seed0", "resnet8-alone-seed0", "resnet8-alone-seed1", "resnet8-dcd+kd-seed0",
        "resnet8-dcd+kd-seed1",
    }  # fmt: skip
    record = records["resnet8-dcd+kd-seed1"]
    assert record["state"] == "finished" and record["config"]["recipe"]["epochs"] == 1 and len(record["history"]) == 1
    assert record["accuracy"] == record["history"][-1]["test_accuracy"]
    data = {"name": "tiny", "train": 40, "test": 20, "size": [16, 16], "classes": ["a", "b", "c"]}
    assert record["data"] == data | {"mean": [0.5] * 3, "std": [0.25] * 3}
    assert record["hardware"] and record["versions"]["torch"]
    text = experiments.report(tmp_path / "r")
    assert "| student alone (resnet8) |" in text and "| DCD+KD |" in text and "(2) |" in text


def test_a_finished_record_is_the_runs_own_and_is_never_written_again(tiny, tmp_path, capsys):
    grid(tiny, tmp_path / "r", ["kd"])
    for path in (tmp_path / "r").iterdir():
        [run] = (data_dir() / "runs").glob(path.stem)
        assert read_record(path) == read_record(run / "result.json")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "r").iterdir()}
    with no_training():
        grid(tiny, tmp_path / "r", ["kd"])
        (tmp_path / "r" / "elsewhere").mkdir()
        experiments.reproduce(PAIR, ["kd"], [0], *tiny, FAST, tmp_path / "r" / "elsewhere")
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert len(list((tmp_path / "r" / "elsewhere").iterdir())) == 2, "loaded, and recorded there too"


def test_grids_of_different_recipes_share_a_folder_and_have_a_table_each(tiny, tmp_path):
    folder = tmp_path / "r"
    grid(tiny, folder, ["alone", "kd"])
    before = {path: path.read_bytes() for path in folder.iterdir()}
    experiments.reproduce(PAIR, ["alone", "kd"], [0], *tiny, FAST.but(epochs=2), folder)
    assert len(list(folder.iterdir())) == 6 and before == {path: path.read_bytes() for path in before}
    table = experiments.read_results(folder)
    groups = [part for _, part in table.groupby("group")]
    assert [sorted(part.method) for part in groups] == [["alone", "kd", "teacher"]] * 2
    assert sorted({*part.epochs} for part in groups) == [{1}, {2}]
    text = experiments.report(folder)
    assert "tiny: 1 epoch" in text and "tiny: 2 epochs" in text and text.count("| KD |") == 2


def test_the_teacher_has_a_seed_and_a_recipe_of_its_own(tiny, tmp_path):
    grid(tiny, tmp_path / "r", ["alone", "kd"], [1], teacher_recipe=FAST.but(epochs=2), teacher_seed=5)
    table = experiments.read_results(tmp_path / "r").set_index("method")
    assert table.seed.to_dict() == {"teacher": 5, "alone": 1, "kd": 1}
    assert table.epochs.to_dict() == {"teacher": 2, "alone": 1, "kd": 1} and table.group.nunique() == 1


def test_what_has_a_record_is_not_trained_again_even_without_its_run(tiny, tmp_path, monkeypatch, capsys):
    grid(tiny, tmp_path / "r", ["alone", "kd"])
    monkeypatch.setenv("DCD_DATA", str(tmp_path / "another machine"))
    with no_training():
        grid(tiny, tmp_path / "r", ["kd", "alone"])
    assert "3 runs, 3 of them there already" in capsys.readouterr().out


def test_a_grid_goes_on_with_the_weights_of_the_teacher_that_it_once_trained(tiny, tmp_path, monkeypatch, trained):
    before = grid(tiny, tmp_path / "r", ["kd"])
    [run] = (data_dir() / "runs").glob("resnet14-alone-*")
    weights = {"resnet14": run.rename(tmp_path / "kept") / "weights.safetensors"}
    monkeypatch.setenv("DCD_DATA", str(tmp_path / "another machine"))
    trained.clear()
    after = grid(tiny, tmp_path / "r", ["kd", "dcd"], teacher_weights=weights)
    assert trained == [("resnet8", "dcd", 0)], "neither the teacher nor what is recorded"
    assert {name: after[name] for name in before} == before and len(after) == 3
    assert after["resnet8-dcd-seed0"]["config"]["teacher"] == before["resnet8-kd-seed0"]["config"]["teacher"]
    assert experiments.read_results(tmp_path / "r").group.nunique() == 1


def test_a_teacher_may_come_from_a_file(tiny, tmp_path, trained):
    teacher = models.create("resnet14", 3, seed=7)
    models.save_weights(teacher, tmp_path / "teacher.safetensors")
    weights = {"teacher_weights": {"resnet14": tmp_path / "teacher.safetensors"}}
    records = grid(tiny, tmp_path / "r", ["kd"], **weights)
    assert trained == [("resnet8", "kd", 0)]
    record = records["resnet14-alone-seed0"]
    assert record["accuracy"] == training.evaluate(teacher, tiny[1], precision="fp32")[0]
    assert record["kind"] == record["config"]["kind"] == "weights" and not record["history"]
    digest = weights_digest(teacher)
    assert records["resnet8-kd-seed0"]["config"]["teacher"]["weights"] == record["final_weights"] == digest
    assert "1 (teacher's weights from a file) epochs" in experiments.report(tmp_path / "r")

    models.save_weights(models.create("resnet14", 3, seed=8), tmp_path / "teacher.safetensors")
    experiments.reproduce(PAIR, ["kd"], [0], *tiny, FAST, tmp_path / "r", **weights)
    table = experiments.read_results(tmp_path / "r")
    assert len(trained) == 2 and len(table) == 4 and table.group.nunique() == 2, "other weights are another teacher"

    for name, error, words in (("resnet14", FileNotFoundError, "no"), ("resnet20", ValueError, "no pair")):
        with no_training(), pytest.raises(error, match=words):
            grid(tiny, tmp_path / "b", ["kd"], teacher_weights={name: tmp_path / "no"})
    assert not (tmp_path / "b").exists()


def test_students_of_another_teacher_stand_in_another_table(tiny, tmp_path):
    folder = tmp_path / "r"
    grid(tiny, folder, ["kd", "alone"])
    experiments.reproduce(PAIR, ["kd", "alone"], [0], *tiny, FAST, folder, teacher_seed=5)
    records = [read_record(path) for path in folder.iterdir()]
    kd = [record["config"]["teacher"]["weights"] for record in records if record["kind"] == "distill"]
    assert len(records) == 5 and len(set(kd)) == 2, "the student alone serves both"
    parts = [part.set_index("method") for _, part in experiments.read_results(folder).groupby("group")]
    assert [sorted(part.index) for part in parts] in ([["alone", "kd", "teacher", "teacher"]] * 2,
        [["alone", "kd", "teacher"]] * 2)  # fmt: skip


def test_pairs_of_one_student_share_the_student_alone(tiny, tmp_path, trained):
    pairs = [("vgg8", "resnet8"), ("resnet14", "resnet8")]
    experiments.reproduce(pairs, ["alone", "kd"], [0], *tiny, FAST, tmp_path / "r")
    assert [name for name, method, _ in trained if method == "alone"].count("resnet8") == 1 and len(trained) == 5
    table = experiments.read_results(tmp_path / "r")
    rows = table[table.method == "alone"].set_index("teacher")
    [alone] = (tmp_path / "r").glob("resnet8-alone-*")
    accuracy = read_record(alone)["accuracy"]
    assert rows.accuracy.to_dict() == {"vgg8": accuracy, "resnet14": accuracy}
    assert experiments.report(tmp_path / "r").count("| student alone (resnet8) |") == 2


def test_a_network_may_teach_itself(tiny, tmp_path, trained):
    grid(tiny, tmp_path / "r", ["alone", "kd"], [0, 1], pairs=[("resnet8", "resnet8")])
    assert sorted(trained) == [("resnet8", name, seed) for name in ("alone", "kd") for seed in (0, 1)]
    table = experiments.read_results(tmp_path / "r")
    assert sorted(zip(table.method, table.seed, strict=True)) == [
        ("alone", 0), ("alone", 1), ("kd", 0), ("kd", 1), ("teacher", 0),
    ]  # fmt: skip
    accuracy = table.set_index(["method", "seed"]).accuracy
    assert accuracy["teacher", 0] == accuracy["alone", 0], "one run in two parts"


def test_a_teacher_from_a_file_is_not_taken_for_the_student_alone(tiny, tmp_path, trained):
    models.save_weights(models.create("resnet8", 3, seed=7), tmp_path / "teacher.safetensors")
    weights = {"teacher_weights": {"resnet8": tmp_path / "teacher.safetensors"}}
    grid(tiny, tmp_path / "r", ["kd"], pairs=[("resnet8", "resnet8")], **weights)
    experiments.reproduce([("resnet8", "resnet8")], ["alone"], [0], *tiny, FAST, tmp_path / "r", **weights)
    assert trained == [("resnet8", "kd", 0), ("resnet8", "alone", 0)]
    table = experiments.read_results(tmp_path / "r").set_index("method")
    assert table.kind.to_dict() == {"teacher": "weights", "alone": "train", "kd": "distill"}


def test_a_method_that_cannot_work_with_a_pair_is_recorded_and_the_rest_goes_on(tiny, tmp_path, capsys):
    folder, pairs = tmp_path / "r", [("resnet8x4", "resnet8")]
    grid(tiny, folder, ["fsp", "kd"], pairs=pairs)
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith("n/a: fsp for resnet8x4 to resnet8: ") and "channels" in last
    table = experiments.read_results(folder).set_index("method")
    assert table.state.to_dict() == {"teacher": "finished", "fsp": "not_applicable", "kd": "finished"}
    assert "channels" in table.reason["fsp"] and table.accuracy.isna().to_dict()["fsp"] and table.group.nunique() == 1
    text = experiments.report(folder)
    assert "| FSP" not in text and "n/a: FSP: the student's maps have " in text
    with no_training(), pytest.raises(ValueError, match='choose "auto"'):
        grid(tiny, tmp_path / "b", ["kd"], cache="nowhere")
    with no_training():
        grid(tiny, folder, ["fsp", "kd"], pairs=pairs)
    assert "2 runs, 2 of them there already\nn/a: fsp" in capsys.readouterr().out


def test_what_was_not_applicable_is_forgotten_once_it_works(tiny, tmp_path, monkeypatch):
    def check(*arguments, original=api.check_method):
        if arguments[3] == "kd":
            raise ValueError("not yet")
        original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(api, "check_method", check)
        assert grid(tiny, tmp_path / "r", ["kd"])["resnet8-kd-seed0"]["reason"] == "not yet"
    assert "n/a: KD: not yet" in experiments.report(tmp_path / "r")
    records = grid(tiny, tmp_path / "r", ["kd"])
    assert records["resnet8-kd-seed0"]["state"] == "finished" and "n/a" not in experiments.report(tmp_path / "r")


def test_a_run_that_diverges_is_recorded_shown_and_not_tried_again(tiny, tmp_path, capsys):
    folder, recipes = tmp_path / "r", {"recipe": WILD, "teacher_recipe": FAST}
    with pytest.raises(RuntimeError, match="2 of 3 runs failed:\n") as error:
        grid(tiny, folder, ["kd", "dcd"], **recipes)
    assert "resnet14-resnet8-kd-seed0: " in str(error.value) and "not finite" in str(error.value)
    records = records_of(folder)
    assert {name: record["state"] for name, record in records.items()} == {
        "resnet14-alone-seed0": "finished", "resnet8-kd-seed0": "failed", "resnet8-dcd-seed0": "failed",
    }  # fmt: skip
    text = experiments.report(folder)
    assert "failed (seed 0) |" in text
    assert f"Failed: KD, seed 0: {records['resnet8-kd-seed0']['reason']}" in text
    assert "| nan |" not in text and "+nan" not in text, "there is no student alone to be above of"

    with no_training(), pytest.raises(RuntimeError, match='as before: delete ".*resnet8-kd-seed0-.*" to try again'):
        grid(tiny, folder, ["kd"], **recipes)


def test_a_failed_run_does_not_stop_the_others_and_is_tried_again_without_its_folder(tiny, tmp_path, monkeypatch):
    def fit(job, *rest, original=stages.fit):
        if "dcd" in job.objective.losses:
            raise training.NonFiniteLoss('the loss term "dcd" is nan')
        return original(job, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(stages, "fit", fit)
        words = '1 of 3 runs failed:\nresnet14-resnet8-dcd-seed0: the loss term "dcd"'
        with pytest.raises(RuntimeError, match=words):
            grid(tiny, tmp_path / "r", ["dcd", "kd"])
    table = experiments.read_results(tmp_path / "r").set_index("method")
    assert table.state.to_dict() == {"teacher": "finished", "kd": "finished", "dcd": "failed"}
    assert table.group.nunique() == 1 and "| DCD | failed |" in experiments.report(tmp_path / "r")

    [run] = (data_dir() / "runs").glob("resnet8-dcd-*")
    with no_training(), pytest.raises(RuntimeError, match=re.escape(f'as before: delete "{run}" to try')):
        grid(tiny, tmp_path / "r", ["dcd", "kd"])
    shutil.rmtree(run)
    records = grid(tiny, tmp_path / "r", ["dcd", "kd"])
    assert records["resnet8-dcd-seed0"]["state"] == "finished" and "failed" not in experiments.report(tmp_path / "r")


def test_a_student_that_cannot_be_trained_does_not_stop_the_others(tiny, tmp_path, monkeypatch):
    def distill(*arguments, original=api.distill, **settings):
        if arguments[4] == "dcd":
            raise ValueError("no")
        return original(*arguments, **settings)

    monkeypatch.setattr(api, "distill", distill)
    with pytest.raises(RuntimeError, match="1 of 3 runs failed:\nresnet14-resnet8-dcd-seed0: no"):
        grid(tiny, tmp_path / "r", ["dcd", "kd"])
    assert set(records_of(tmp_path / "r")) == {"resnet14-alone-seed0", "resnet8-kd-seed0"}


def test_a_teacher_that_diverges_ends_the_grid_and_is_recorded(tiny, tmp_path):
    with pytest.raises(training.NonFiniteLoss):
        grid(tiny, tmp_path / "r", ["kd"], teacher_recipe=WILD)
    [record] = records_of(tmp_path / "r").values()
    assert record["state"] == "failed" and record["config"]["network"]["name"] == "resnet14"
    assert "failed (seed 0)" in experiments.report(tmp_path / "r")


def test_networks_of_a_library_have_records_of_their_own(tiny, tmp_path):
    shuffle = "torchvision/shufflenet_v2_x0_5"
    pairs = [("resnet14", shuffle), ("resnet8", shuffle)]
    experiments.reproduce(pairs, ["kd", "ab"], [0], *tiny, FAST, tmp_path / "r")
    table = experiments.read_results(tmp_path / "r")
    assert sorted(zip(table.teacher, table.method, table.state, strict=True)) == [
        (name, method, "not_applicable" if method == "ab" else "finished")
        for name in ("resnet14", "resnet8") for method in ("ab", "kd", "teacher")
    ], "ab reads maps before the ReLU"  # fmt: skip
    assert not [path for path in (tmp_path / "r").iterdir() if path.is_dir()], "a slash in a name makes no folder"
    with no_training():
        experiments.reproduce(pairs, ["kd"], [0], *tiny, FAST, tmp_path / "r")


def _cut(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def _flipped(whole: bytes) -> bytes:
    place = whole.index(b'"accuracy": ') + 13
    return whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]


DAMAGE = {
    "cut": (_cut, "is damaged"),
    "emptied": (lambda whole: b"", "is damaged"),
    "a digit flipped": (_flipped, r"is damaged \(its content does not match its checksum\)"),
    "no text": (lambda whole: b"\xff\xfe" + whole, "is damaged"),
    "another object": (lambda whole: b'{"accuracy": 1}', "is no record"),
    "a list": (lambda whole: b"[]", "is no record"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_and_foreign_files_are_named(tiny, tmp_path, kind):
    folder, (spoil, words) = tmp_path / "r", DAMAGE[kind]
    grid(tiny, folder, [])
    [path] = folder.iterdir()
    path.write_bytes(spoil(path.read_bytes()))
    with no_training():
        for call in (lambda: experiments.report(folder), lambda: grid(tiny, folder, [])):
            with pytest.raises(ValueError, match=f"resnet14-alone-seed0-.*.json. {words}"):
                call()


def test_what_a_killed_process_left_beside_a_record_is_harmless(tiny, tmp_path):
    folder = tmp_path / "r"
    grid(tiny, folder, [])
    [path] = folder.iterdir()
    partial = folder / f".{path.name}.1.partial"
    partial.write_bytes(_cut(path.read_bytes()))
    with no_training():
        experiments.reproduce(PAIR, [], [0], *tiny, FAST, folder)
    assert len(experiments.read_results(folder)) == 1
    with pytest.raises(ValueError, match="is a file: name a folder"):
        grid(tiny, path, [])


def test_a_run_that_another_process_trains_is_left_to_it(tiny, tmp_path, capsys):
    results, waited = tmp_path / "r", []
    planner = Plan(*tiny)
    [teacher], _ = planner.tasks(PAIR, [], [0], FAST, FAST, 0)
    begun = threading.Event()

    def another_process():
        with RunFolder(None, planner.config(teacher), {}).claimed(lambda: pytest.fail("it is free")):
            begun.set()
            until = time.monotonic() + 60
            while "another process trains this run, waiting" not in "".join(waited) and time.monotonic() < until:
                waited.append(capsys.readouterr().out)
                time.sleep(0.01)
            waited.append(sorted(records_of(results)))

    other = threading.Thread(target=another_process)
    other.start()
    begun.wait()
    grid(tiny, results, ["kd", "alone"])
    other.join()
    assert waited[-1] == ["resnet8-alone-seed0"], "without its teacher only the student alone can learn"
    assert len(records_of(results)) == 3


def test_what_another_process_trains_is_put_off_and_done_at_the_end():
    asked, busy = [], {"a": 2, "c": 99}

    def run(task, wait):
        asked.append((task.network, wait))
        if not wait and busy.get(task.network, 0):
            busy[task.network] -= 1
            raise training.RunBusy
        return task.network.upper()

    tasks = [plan.Task(name, "alone", 0, FAST) for name in "abcd"]
    assert work_through(tasks, run, {}) == {task: task.network.upper() for task in tasks}
    # the other process is at a, so it comes from the front, and this one goes on from the end
    tries = [[("a", False), ("d", False), ("c", False), ("b", False)]]  # gets d and b
    tries += [[("a", False), ("c", False)], [("c", True), ("a", False)]]
    assert asked == [entry for some in tries for entry in some]


def test_every_network_has_its_published_rate(tiny, tmp_path, monkeypatch):
    tasks = []
    monkeypatch.setattr(grids._Grid, "work", lambda self, *both: tasks.extend(task for some in both for task in some))
    pairs = [("vgg13", "MobileNetV2"), ("vgg13", "vgg8"), ("vgg13", "vgg8")]
    experiments.reproduce(pairs, ["kd"], [0], *tiny, training.PAPER, tmp_path)
    assert [(task.network, task.recipe.learning_rate) for task in tasks] == [
        ("vgg13", 0.05), ("MobileNetV2", 0.01), ("vgg8", 0.05),
    ]  # fmt: skip


def test_bad_grids_train_nothing(tiny, tmp_path):
    with no_training():
        with pytest.raises(ValueError, match="resnet8, resnet14"):
            grid(tiny, tmp_path / "r", ["alone"], pairs=[("resnet14", "alexnet")])
        with pytest.raises(ValueError, match="choose one of kd"):
            grid(tiny, tmp_path / "r", ["dcb"])
    assert not (tmp_path / "r").exists()


def test_settings_behind_an_at_reach_the_loss_and_the_record(tiny, tmp_path):
    methods = ["dcd", "dcd@alpha=0.25,learn_scale=false", "dcd+kd@weight=2"]
    records = grid(tiny, tmp_path / "r", [*methods, "dcd@learn_scale=false,alpha=0.250"])
    assert len(records) == 4, "the last is the second, spelt otherwise"
    changed = records["resnet8-dcd@alpha=0.25,learn_scale=false-seed0"]
    assert changed["config"]["options"] == {"alpha": 0.25, "learn_scale": False}
    assert changed["config"]["method"] == "dcd"
    assert changed["history"][0]["scale"] == pytest.approx(2.71828, abs=1e-4)
    assert records["resnet8-dcd+kd@weight=2-seed0"]["config"]["weights"]["dcd"] == 2
    assert records["resnet8-dcd-seed0"]["config"]["options"] == {}
    assert "| DCD, alpha=0.25, learn_scale=false |" in experiments.report(tmp_path / "r")
    table = experiments.read_results(tmp_path / "r")
    assert list(table.method) == ["teacher", *methods]


BAD = ["dcd@alpha", "dcd@alpha=high", "dcd@=1", "dcd@", "magic@alpha=1", "dcd@colour=1", "kd@weight=-1"]
BAD += ["kd@temperature=0", "rrd@queue_size=8", "rrd@queue_size=0.5", "crd@negatives=0", "fitnet@hint=9"]


@pytest.mark.parametrize("method", BAD)
def test_settings_that_cannot_be_had_are_refused_before_anything_is_trained(tiny, tmp_path, method):
    words = r"NAME=VALUE|does not exist|its loss takes|not negative|temperature|queue|at least 1|hint"
    with no_training(), pytest.raises(ValueError, match=words):
        grid(tiny, tmp_path / "r", [method])
    assert not (tmp_path / "r").exists()


def test_the_course_has_one_teacher_and_a_student_for_every_method_and_seed(tiny):
    teacher, students = experiments.course_runs(SMALL, ("alone", "dcd+kd"), *tiny)
    assert len(teacher.rows) == 2 and teacher.config["seed"] == 7 and teacher.config["network"]["name"] == "resnet14"
    assert list(students) == [("alone", 3), ("dcd+kd", 3), ("alone", 4), ("dcd+kd", 4)]
    starts = {key: run.config["network"]["weights"] for key, run in students.items()}
    assert starts["alone", 3] == starts["dcd+kd", 3] != starts["alone", 4]
    with no_training():
        _, again = experiments.course_runs(SMALL, ("alone", "dcd+kd"), *tiny)
    assert again["dcd+kd", 4].rows == students["dcd+kd", 4].rows


def test_bad_calls_of_the_course_fail_before_the_teacher_is_trained(tiny):
    with no_training():
        with pytest.raises(ValueError, match="kd, fitnet.*dcd"):
            experiments.course_runs(SMALL, ("alone", "dcdd"), *tiny)
        with pytest.raises(ValueError, match="only one of train and test"):
            experiments.course_runs(SMALL, train=tiny[0])


def test_a_busy_teacher_does_not_keep_the_students_alone_from_training(tiny, monkeypatch):
    order = []

    def watched(function):
        def call(network, *rest, wait, **settings):
            if network.name == "resnet14" and not wait and len(order) < 3:
                order.append("busy")
                raise training.RunBusy
            run = function(network, *rest, wait=wait, **settings)
            order.append(f"{run.config['network']['name']} {run.config['method']} {run.config['seed']}")
            return run

        return call

    for name in ("train", "distill"):
        monkeypatch.setattr(api, name, watched(getattr(api, name)))
    teacher, students = experiments.course_runs(SMALL, ("kd", "alone"), *tiny)
    assert order == ["busy", "resnet8 alone 4", "resnet8 alone 3", "resnet14 alone 7", "resnet8 kd 4", "resnet8 kd 3"]
    assert list(students) == [("kd", 3), ("alone", 3), ("kd", 4), ("alone", 4)] and len(teacher.rows) == 2


def test_a_teacher_of_other_classes_gets_a_fresh_classifier_and_is_fine_tuned_first(tiny, tmp_path, trained, capsys):
    learned = models.create("resnet8", 7, seed=3)
    models.save_weights(learned, tmp_path / "of7.safetensors")
    pair, settings = [("resnet8", "resnet8")], {"teacher_weights": {"resnet8": tmp_path / "of7.safetensors"}}
    experiments.reproduce(pair, ["alone", "kd"], [0], *tiny, FAST, tmp_path / "r", **settings)
    assert trained == [("resnet8", "alone", 0), ("resnet8", "alone", 0), ("resnet8", "kd", 0)], "two of one name"
    assert "resnet8: its classifier is fresh, so it is fine-tuned first" in capsys.readouterr().out
    records = [read_record(path) for path in (tmp_path / "r").glob("*.json")]
    [kd] = [record for record in records if record["config"]["method"] == "kd"]
    [teacher] = [record for record in records if record["config"]["recipe"]["learning_rate"] < FAST.learning_rate]
    assert teacher["config"]["recipe"]["learning_rate"] == FAST.learning_rate / 10
    assert teacher["final_weights"] == kd["config"]["teacher"]["weights"], "and it taught"
    begun, knows = begin_teacher("resnet8", 3, 0, tmp_path / "of7.safetensors")
    assert not knows and teacher["config"]["network"]["weights"] == weights_digest(begun)
    assert torch.equal(begun.layer1[0].conv1.weight, learned.layer1[0].conv1.weight)
    with no_training():
        experiments.reproduce(pair, ["alone", "kd"], [0], *tiny, FAST, tmp_path / "r", **settings)


def test_a_library_s_published_weights_are_fine_tuned_unless_they_know_the_classes(monkeypatch):
    asked = []

    def create(name, num_classes, seed, pretrained, original=models.create):
        asked.append((name, pretrained))
        return original(name, num_classes, seed)

    monkeypatch.setattr(models, "create", create)
    assert not begin_teacher("resnet8", 3, 0, "pretrained")[1] and begin_teacher("resnet8", 1000, 0, "pretrained")[1]
    assert asked == [("resnet8", True), ("resnet8", True)]
