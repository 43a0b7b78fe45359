import json
from pathlib import Path

import pytest
from filelock import FileLock

from dcd_utils import data, losses, models, runtime, training
from dcd_utils.training import api, benchmark, grid, transfer

FAST = training.Recipe(epochs=1, batch_size=16, schedule="one_cycle", milestones=(), precision="fp32")
PAIR = [("resnet14", "resnet8")]
CHECKOUT = Path(__file__).resolve().parents[2]


def test_grid_writes_a_log_a_run_and_goes_on_where_it_stopped(tiny_sets, tmp_path, monkeypatch):
    training.reproduce(PAIR, ["alone"], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny")
    trained = []
    monkeypatch.setattr(api, "fit", lambda *arguments, original=api.fit: trained.append(1) or original(*arguments))
    training.reproduce(PAIR, ["alone", "dcd+kd"], [0, 1], *tiny_sets, FAST, tmp_path / "logs", "tiny")
    assert len(trained) == 3, "teacher and first student were there already"
    table = training.read_results(tmp_path / "logs")
    assert sorted(zip(table.method, table.seed, strict=True)) == [
        ("alone", 0), ("alone", 1), ("dcd+kd", 0), ("dcd+kd", 1), ("teacher", 0),
    ]  # fmt: skip
    text = training.report(tmp_path / "logs")
    assert "| student alone (resnet8) |" in text and "| DCD+KD |" in text and "| 2 |" in text
    log = json.loads((tmp_path / "logs" / "resnet14-resnet8-dcd+kd-seed1.json").read_text())
    assert (
        log["config"]["recipe"]["epochs"] == 1
        and len(log["history"]) == 1
        and log["hardware"]
        and log["versions"]["torch"]
    )


def test_a_log_of_another_config_is_not_overwritten(tiny_sets, tmp_path, monkeypatch):
    training.reproduce(PAIR, [], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny")
    [path] = (tmp_path / "logs").iterdir()
    before = path.read_bytes()
    monkeypatch.setattr(api, "fit", lambda *_: pytest.fail("trained"))
    with pytest.raises(ValueError, match="log of another config"):
        training.reproduce(PAIR, [], [0], *tiny_sets, FAST.but(epochs=2), tmp_path / "logs", "tiny")
    assert path.read_bytes() == before


def test_the_teacher_has_a_seed_of_its_own(tiny_sets, tmp_path):
    training.reproduce(
        PAIR, ["alone"], [1], *tiny_sets, FAST, tmp_path / "logs", "tiny", FAST.but(epochs=2), teacher_seed=5
    )
    table = training.read_results(tmp_path / "logs").set_index("method")
    assert table.seed.to_dict() == {"alone": 1, "teacher": 5} and table.epochs.to_dict() == {"alone": 1, "teacher": 2}


def logs_of(folder: Path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def test_what_has_a_log_is_not_trained_again_even_without_its_run(tiny_sets, tmp_path, monkeypatch):
    training.reproduce(PAIR, ["alone", "kd"], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny")
    monkeypatch.setenv("DCD_DATA", str(tmp_path / "empty"))
    monkeypatch.setattr(api, "fit", lambda *_: pytest.fail("trained"))
    training.reproduce(PAIR, ["kd", "alone"], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny")


def test_students_of_another_teacher_do_not_share_a_folder(tiny_sets, tmp_path):
    folder = tmp_path / "logs"
    training.reproduce(PAIR, ["kd"], [0], *tiny_sets, FAST, folder, "tiny")
    path = folder / "resnet14-resnet8-kd-seed0.json"
    log = json.loads(path.read_text())
    log["config"]["teacher"] = "of other weights"
    path.write_text(json.dumps(log))
    with pytest.raises(ValueError, match="log of another config .teacher is 'of other weights' there and '"):
        training.reproduce(PAIR, ["kd"], [0, 1], *tiny_sets, FAST, folder, "tiny")
    assert set(logs_of(folder)) == {"resnet14-resnet8-teacher-seed0", "resnet14-resnet8-kd-seed0"}


def test_a_method_that_cannot_work_with_a_pair_is_noted_and_the_rest_goes_on(tiny_sets, tmp_path, capsys):
    folder = tmp_path / "logs"
    training.reproduce([("resnet8x4", "resnet8")], ["fsp", "kd"], [0], *tiny_sets, FAST, folder, "tiny")
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith("n/a: fsp for resnet8x4 to resnet8: ") and "channels" in last
    table = training.read_results(folder)
    assert sorted(table.method) == ["kd", "teacher"]
    assert list(table.attrs["not_applicable"]) == [("resnet8x4", "resnet8", "fsp")]
    text = training.report(folder)
    assert "| FSP" not in text and "n/a: FSP: the student's maps have " in text


@pytest.mark.parametrize("plain", [False, True])
def test_a_table_says_when_it_was_trained_the_plain_way(tiny_sets, tmp_path, plain):
    training.reproduce(PAIR, ["kd"], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny", plain=plain)
    assert ("1 epoch, fp32, the plain way, last" in training.report(tmp_path / "logs")) == plain


def test_a_run_that_stops_being_finite_is_reported_after_the_others(tiny_sets, tmp_path, monkeypatch):
    def distill(student, *arguments, original=grid.distill, **settings):
        if arguments[3] == "dcd":
            raise training.NonFiniteLoss('the loss term "dcd" is nan')
        return original(student, *arguments, **settings)

    monkeypatch.setattr(grid, "distill", distill)
    with pytest.raises(RuntimeError, match='1 of 3 runs failed:\nresnet14-resnet8-dcd-seed0: the loss term "dcd"'):
        training.reproduce(PAIR, ["dcd", "kd"], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny")
    assert sorted(training.read_results(tmp_path / "logs").method) == ["kd", "teacher"]
    text = training.report(tmp_path / "logs")
    assert "| DCD | failed | | 0 | | failed (seed 0) |" in text and 'Failed: DCD, seed 0: the loss term "dcd"' in text
    assert "nan" not in text.replace("is nan", ""), "there is no student alone to be above of"
    table = training.read_results(tmp_path / "logs").assign(teacher="resnet56", student="resnet20")
    table.attrs["failed"] = {("resnet56", "resnet20", "dcd", 0): "it diverged"}
    assert "| DCD | failed | " in training.comparison(table)

    monkeypatch.setattr(grid, "distill", lambda *_, **__: pytest.fail("tried again"))
    with pytest.raises(RuntimeError, match="as before: delete .*resnet14-resnet8-dcd-seed0-failed.json to try again"):
        training.reproduce(PAIR, ["dcd", "kd"], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="recipe.epochs is 1 there and 2 here"):
        training.reproduce(PAIR, ["dcd"], [0], *tiny_sets, FAST.but(epochs=2), tmp_path / "logs", "tiny")
    (tmp_path / "logs" / "resnet14-resnet8-dcd-seed0-failed.json").unlink()
    training.reproduce(PAIR, ["dcd", "kd"], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny")
    assert "failed" not in training.report(tmp_path / "logs")


def test_a_run_that_cannot_be_trained_does_not_stop_the_others(tiny_sets, tmp_path, monkeypatch):
    def distill(student, *arguments, original=grid.distill, **settings):
        if arguments[3] == "dcd":
            raise ValueError("no")
        return original(student, *arguments, **settings)

    monkeypatch.setattr(grid, "distill", distill)
    with pytest.raises(RuntimeError, match="1 of 3 runs failed:\nresnet14-resnet8-dcd-seed0: no"):
        training.reproduce(PAIR, ["dcd", "kd"], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny")
    assert set(logs_of(tmp_path / "logs")) == {"resnet14-resnet8-teacher-seed0", "resnet14-resnet8-kd-seed0"}


def test_networks_of_a_library_have_logs_of_their_own(tiny_sets, tmp_path, monkeypatch):
    pairs = [("resnet14", "torchvision/shufflenet_v2_x0_5"), ("resnet8", "torchvision/shufflenet_v2_x0_5")]
    training.reproduce(pairs, ["kd", "ab"], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny")
    table = training.read_results(tmp_path / "logs")
    assert sorted(zip(table.teacher, table.method, strict=True)) == [
        (name, method) for name in ("resnet14", "resnet8") for method in ("kd", "teacher")
    ]
    assert {key[2] for key in table.attrs["not_applicable"]} == {"ab"}, "it reads maps before the ReLU"
    monkeypatch.setattr(api, "fit", lambda *_: pytest.fail("trained again"))
    training.reproduce(pairs, ["kd"], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny")
    before = {path: path.read_bytes() for path in (tmp_path / "logs").rglob("*.json")}
    with pytest.raises(ValueError, match="log of another config"):
        training.reproduce(pairs, ["kd"], [0], *tiny_sets, FAST.but(epochs=2), tmp_path / "logs", "tiny")
    assert before == {path: path.read_bytes() for path in (tmp_path / "logs").rglob("*.json")}


def test_a_folder_serves_one_teacher_seed_and_one_kind_of_storage(tiny_sets, tmp_path, monkeypatch):
    training.reproduce(PAIR, ["kd", "at"], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny")
    monkeypatch.setattr(api, "fit", lambda *_: pytest.fail("trained"))
    with pytest.raises(ValueError, match="students of a teacher of another seed than 5"):
        training.reproduce(PAIR, ["kd"], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny", teacher_seed=5)
    with pytest.raises(ValueError, match="stored_answers is None there and 'fp16' here"):
        training.reproduce(PAIR, ["kd"], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny", cache="file:fp16")
    training.reproduce(PAIR, ["at"], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny", cache="file:fp16")
    with pytest.raises(ValueError, match='choose "auto"'):
        training.reproduce(PAIR, ["kd"], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny", cache="nowhere")


def test_damaged_and_foreign_logs_are_named(tiny_sets, tmp_path):
    folder = tmp_path / "logs"
    training.reproduce(PAIR, [], [0], *tiny_sets, FAST, folder, "tiny")
    [path] = folder.iterdir()
    whole = path.read_text()
    for content, words in ((whole[:300], "is damaged"), ('{"accuracy": 1}', "is no log"), ("[]", "is no log")):
        path.write_text(content)
        for call in (
            lambda: training.report(folder),
            lambda: training.reproduce(PAIR, [], [0], *tiny_sets, FAST, folder, "tiny"),
        ):
            with pytest.raises(ValueError, match=f"teacher-seed0.json. {words}"):
                call()
    with pytest.raises(ValueError, match="is a file: name a folder"):
        training.reproduce(PAIR, [], [0], *tiny_sets, FAST, path, "tiny")


def test_a_run_that_another_process_trains_is_left_to_it(tiny_sets, tmp_path, monkeypatch, capsys):
    training.reproduce(PAIR, [], [0], *tiny_sets, FAST, tmp_path / "first", "tiny")
    [lock] = (runtime.data_dir() / "runs" / ".locks").glob("resnet14-*.lock")  # left behind, but nobody holds it
    held = FileLock(lock)
    held.acquire()
    naps = []

    def nap(seconds):
        naps.append(set(logs_of(tmp_path / "logs")))
        held.release()

    monkeypatch.setattr(grid.time, "sleep", nap)
    training.reproduce(PAIR, ["kd", "alone"], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny")
    assert naps == [{"resnet14-resnet8-alone-seed0"}], "without its teacher only the student alone can learn"
    assert len(logs_of(tmp_path / "logs")) == 3


def test_all_methods_are_spelt_out():
    everything = grid._expand(["all", "DCD", "all+kd"])
    assert everything[: len(losses.names()) + 1] == ["alone", *losses.names()]
    assert everything[len(losses.names()) + 1 :] == [f"{name}+kd" for name in losses.names() if name != "kd"]
    with pytest.raises(ValueError, match='"kd.fsp"'):
        grid._expand(["all+fsp"])
    spelt = grid._expand(["dcd@alpha=0.50,learn_scale=true", "DCD@alpha=0.5,learn_scale=true", "rrd@queue_size=2e3"])
    assert spelt == ["dcd@alpha=0.5,learn_scale=true", "rrd@queue_size=2000"]
    with pytest.raises(ValueError, match="choose one of"):
        grid._expand(["alone+kd"])


def test_a_teacher_may_come_from_a_file(tiny_sets, tmp_path, monkeypatch):
    teacher = models.create("resnet14", 3, seed=7)
    models.save_weights(teacher, tmp_path / "teacher.safetensors")
    given = {"teacher_weights": {"resnet14": tmp_path / "teacher.safetensors"}}
    trained = []
    monkeypatch.setattr(api, "fit", lambda *arguments, original=api.fit: trained.append(1) or original(*arguments))
    training.reproduce(PAIR, ["kd"], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny", **given)
    assert len(trained) == 1
    log = logs_of(tmp_path / "logs")["resnet14-resnet8-teacher-seed0"]
    assert log["accuracy"] == training.evaluate(teacher, tiny_sets[1], precision="fp32")[0]
    assert log["config"]["kind"] == "weights" and log["config"]["file"] == "teacher.safetensors" and not log["history"]
    student = logs_of(tmp_path / "logs")["resnet14-resnet8-kd-seed0"]
    assert student["config"]["teacher"] == log["config"]["weights"] == runtime.digest(teacher.state_dict())
    assert "1 (teacher's weights from a file) epochs" in training.report(tmp_path / "logs")

    models.save_weights(models.create("resnet14", 3, seed=8), tmp_path / "teacher.safetensors")
    with pytest.raises(ValueError, match="log of another config .weights is "):
        training.reproduce(PAIR, ["kd"], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny", **given)
    with pytest.raises(FileNotFoundError):
        training.reproduce(
            PAIR, ["kd"], [0], *tiny_sets, FAST, tmp_path / "b", "tiny", teacher_weights={"resnet14": tmp_path / "no"}
        )
    with pytest.raises(ValueError, match="no pair"):
        training.reproduce(
            PAIR, ["kd"], [0], *tiny_sets, FAST, tmp_path / "b", "tiny", teacher_weights={"resnet20": tmp_path / "no"}
        )
    assert len(trained) == 1 and not (tmp_path / "b").exists()


def test_every_network_has_its_published_rate(tiny_sets, tmp_path, monkeypatch):
    tasks = []
    monkeypatch.setattr(grid._Grid, "run", lambda self, given: tasks.extend(given))
    pairs = [("vgg13", "MobileNetV2"), ("vgg13", "vgg8")]
    training.reproduce(pairs, ["kd"], [0], *tiny_sets, training.PAPER, tmp_path, "tiny")
    assert {task.network: task.recipe.learning_rate for task in tasks} == {
        "vgg13": 0.05, "MobileNetV2": 0.01, "vgg8": 0.05,
    }  # fmt: skip


def test_the_committed_logs_are_those_of_todays_configs(monkeypatch, capsys):
    monkeypatch.setattr(api, "fit", lambda *_: pytest.fail("trained"))
    recipe, teacher_recipe = (one.but(precision="bf16") for one in (training.QUICK, training.QUICK_TEACHER))
    sets = data.load("shapes", device="cpu")
    folder = CHECKOUT / "data" / "results" / "shapes"
    methods = ["alone", "kd", "dcd", "dcd+kd"]
    pair = [("resnet20", "resnet8")]
    training.reproduce(pair, methods, range(2, 7), *sets, recipe, folder, "shapes", teacher_recipe)
    assert capsys.readouterr().out == "21 runs, 21 of them there already\n"


def test_time_left():
    assert grid._duration(10) == ", about 1 min left" and grid._duration(3660) == ", about 1 h 1 min left"


def test_bad_grids_train_nothing(tiny_sets, tmp_path, monkeypatch):
    monkeypatch.setattr(api, "fit", lambda *_: pytest.fail("trained"))
    with pytest.raises(ValueError, match="resnet8, resnet14"):
        training.reproduce([("resnet14", "alexnet")], ["alone"], [0], *tiny_sets, FAST, tmp_path, "tiny")
    with pytest.raises(ValueError, match="choose one of kd"):
        training.reproduce(PAIR, ["dcb"], [0], *tiny_sets, FAST, tmp_path, "tiny")
    with pytest.raises(FileNotFoundError, match="no logs"):
        training.read_results(tmp_path / "nowhere")


@pytest.mark.parametrize("folder", sorted((CHECKOUT / "data" / "results").glob("*")), ids=lambda path: path.name)
def test_the_readme_shows_what_the_committed_logs_say(folder):
    readme = (CHECKOUT / "README.md").read_text()
    block = readme.split(f"<!-- results: {folder.name} -->\n")[1].split("<!-- end -->")[0]
    if transfer.holds_probes(folder):
        assert block == transfer.probe_report(folder)
    elif benchmark.holds_benchmarks(folder):
        assert block == benchmark.benchmark_report(folder)
    else:
        assert block == training.report(folder)


def test_settings_behind_an_at_reach_the_loss_and_the_log(tiny_sets, tmp_path):
    methods = ["dcd", "dcd@alpha=0.25,learn_scale=false", "dcd+kd@weight=2"]
    training.reproduce(PAIR, methods, [0], *tiny_sets, FAST, tmp_path / "logs", "tiny")
    logs = logs_of(tmp_path / "logs")
    changed = logs["resnet14-resnet8-dcd@alpha=0.25,learn_scale=false-seed0"]
    assert (
        changed["config"]["options"] == {"alpha": 0.25, "learn_scale": False} and changed["config"]["method"] == "dcd"
    )
    assert changed["history"][0]["scale"] == pytest.approx(2.71828, abs=1e-4)
    assert logs["resnet14-resnet8-dcd+kd@weight=2-seed0"]["config"]["weights"]["dcd"] == 2
    assert logs["resnet14-resnet8-dcd-seed0"]["config"]["options"] == {}
    assert "| DCD@alpha=0.25,learn_scale=false |" in training.report(tmp_path / "logs")
    assert sorted(methods, key=training.method_order) == methods


BAD = ["dcd@alpha", "dcd@alpha=high", "dcd@=1", "dcd@", "magic@alpha=1", "dcd@colour=1", "kd@weight=-1"]
BAD += ["kd@temperature=0", "rrd@queue_size=8", "rrd@queue_size=0.5", "crd@negatives=0", "fitnet@hint=9"]


@pytest.mark.parametrize("method", BAD)
def test_settings_that_cannot_be_read_are_refused_before_anything_is_trained(tiny_sets, tmp_path, monkeypatch, method):
    monkeypatch.setattr(api, "fit", lambda *_: pytest.fail("trained"))
    words = r"NAME=VALUE|does not exist|its loss takes|not negative|temperature|queue|at least 1|hint"
    with pytest.raises(ValueError, match=words):
        training.reproduce(PAIR, [method], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny")
    assert not (tmp_path / "logs").exists()


def test_a_grid_goes_on_with_the_weights_of_the_teacher_that_it_once_trained(tiny_sets, tmp_path, monkeypatch):
    training.reproduce(PAIR, ["kd"], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny")
    before = logs_of(tmp_path / "logs")
    [run] = (tmp_path / "data" / "runs").glob("resnet14-alone-*")
    weights = {"resnet14": run.rename(tmp_path / "kept") / "weights.safetensors"}
    monkeypatch.setenv("DCD_DATA", str(tmp_path / "empty"))  # another machine: no runs
    training.reproduce(PAIR, ["kd", "dcd"], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny", teacher_weights=weights)
    after = logs_of(tmp_path / "logs")
    assert {name: after[name] for name in before} == before and len(after) == 3
    teachers = {log["config"]["teacher"] for name, log in after.items() if "teacher" not in name}
    assert len(teachers) == 1
    other = models.create("resnet14", 3, seed=9)
    models.save_weights(other, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="log of another config .teacher is "):
        training.reproduce(
            PAIR, ["kd"], [0], *tiny_sets, FAST, tmp_path / "logs", "tiny",
            teacher_weights={"resnet14": tmp_path / "other.safetensors"},
        )  # fmt: skip
