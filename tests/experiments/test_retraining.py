"""The runs that come with the course are what their records say."""

import shutil

import pytest

from dcd_utils import data, experiments, files, models, training
from dcd_utils.experiments import methods, profiles, retraining
from dcd_utils.records import read_record, write_record
from dcd_utils.training.config import run_name
from dcd_utils.training.runs import RunFolder

RESULTS = files.course_dir().parent / "results" / "shapes"


class Stop(Exception):
    pass


@pytest.fixture
def records():
    records = retraining.course_records()
    if not records:
        pytest.skip("no run comes with the course yet")
    return records


def test_runs_are_trained_anew_and_compared(tiny_sets, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "course_dir", lambda: tmp_path / "course")
    monkeypatch.setattr(data, "load", lambda name: tiny_sets)
    with pytest.raises(ValueError, match="no run comes with the course"):
        retraining.retrain()
    recipe = training.QUICK.but(epochs=2, batch_size=16)
    teacher = training.train(models.create("resnet14", 3, seed=5), *tiny_sets, recipe, seed=5)
    student = models.create("resnet8", 3, seed=1)
    weights, options = {"classification": 1.0, "kd": 2.0}, {"alpha": 0.25}
    choices = {"weights": weights, "options": options}
    run = training.distill(student, teacher.model, *tiny_sets, "dcd+kd", recipe, seed=1, **choices)
    for made in (teacher, run):
        shutil.copytree(made.run_dir, tmp_path / "course" / made.run_dir.name)
    table = retraining.retrain()
    assert [*table.index] == [teacher.run_dir.name, run.run_dir.name], "a teacher comes before its students"
    assert table["same weights"].all() and (table["largest difference of the loss"] == 0).all()
    path = tmp_path / "course" / run.run_dir.name / "result.json"
    record = read_record(path)
    record["history"][1]["train_loss"] += 0.5
    write_record(path, record | {"accuracy": record["accuracy"] - 5, "final_weights": "other"})
    (row,) = retraining.retrain([run.run_dir.name]).to_dict("records")
    assert row["difference"] == pytest.approx(5) and not row["same weights"]
    assert row["largest difference of the loss"] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="nothing is no run of the course"):
        retraining.retrain(["nothing"])


def test_the_quick_profile_is_there_and_small(records):
    profile = profiles.profile("quick")
    there = {(record["config"]["method"], record["config"]["seed"]) for record in records.values()}
    assert {(method, seed) for method in ("alone", "kd", "dcd", "dcd+kd") for seed in profile.seeds} <= there
    assert ("alone", profile.teacher_seed) in there
    sizes = [path.stat().st_size for path in files.course_dir().rglob("*") if path.is_file()]
    assert sum(sizes) <= 12e6
    assert all(record["hardware"] and record["date"] and record["state"] == "finished" for record in records.values())
    assert all(name == run_name(record["config"]) for name, record in records.items())


def test_the_tables_are_made_of_these_runs(records):
    for record in records.values():
        config = record["config"]
        if config["method"] == "fitnet":
            continue
        name = f"{run_name(config, methods.method_label(config))}.json"
        assert read_record(RESULTS / name) == record, name


def test_a_first_epoch_is_trained_as_its_record_says(records, monkeypatch, tmp_path):
    """To 0.02 in each term of the loss: from one processor to another, rounding grows with every step."""
    profile = profiles.profile("quick")
    train, test = data.load("shapes", device="cpu")
    rows = []

    def stop(folder, state):
        rows.append(state["history"][0])
        raise Stop

    monkeypatch.setattr(RunFolder, "save_checkpoint", stop)
    of_seed = [record for record in records.values() if record["config"]["seed"] == profile.seeds[0]]
    (record,) = (record for record in of_seed if record["config"]["method"] == "dcd+kd")
    with pytest.raises(Stop):
        retraining.train_anew(record, train, test, tmp_path / "run")
    expected = record["history"][0]
    for term in ("train_loss", "classification", "kd", "contrast", "consistency", "scale"):
        assert rows[0][term] == pytest.approx(expected[term], abs=0.02), term
    others = [other["history"][0] for other in records.values() if other["config"]["method"] == "dcd+kd"]
    apart = {round(other["train_loss"] - expected["train_loss"], 6) for other in others}
    assert len(apart) == len(profile.seeds), "each seed has its own first epoch"


def test_the_course_loads_everything_and_trains_nothing(records, monkeypatch, capsys):
    def never(*arguments, **named):
        raise AssertionError("must not train")

    monkeypatch.setattr("dcd_utils.training.api.learn", never)
    profile = profiles.profile("quick")
    teacher, runs = experiments.course_runs(profile, ["alone", "kd", experiments.KD_AS_PARTNER, "dcd", "dcd+kd"])
    assert len(runs) == 5 * len(profile.seeds) and teacher.run_dir.parent == files.course_dir()
    lead = teacher.accuracy - sum(runs["alone", seed].accuracy for seed in profile.seeds) / len(profile.seeds)
    assert lead >= 10
