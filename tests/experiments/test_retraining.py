"""The runs that come with the course are what their records say."""

import shutil

import pytest

from dcd_utils import data, experiments, files, models, training
from dcd_utils.experiments import methods, profiles
from dcd_utils.experiments.methods import method_label, settings_of
from dcd_utils.records import read_record
from dcd_utils.training import Recipe, api
from dcd_utils.training.config import run_name
from dcd_utils.training.runs import RECORD, WEIGHTS, RunFolder

RESULTS = files.course_dir().parent / "results" / "shapes"


class Stop(Exception):
    pass


def course_records():
    """{folder's name: record} of the runs that come with the course, teachers first."""
    records = {path.parent.name: read_record(path) for path in sorted(files.course_dir().glob(f"*/{RECORD}"))}
    return dict(sorted(records.items(), key=lambda entry: entry[1]["kind"] != "train"))


def train_anew(record, train, test, run_dir):
    """Train the run that a record of the course describes; a student has the course's own teacher."""
    config = record["config"]
    network = models.create(config["network"]["name"], train.num_classes, seed=config["seed"])
    recipe, seed, choices = Recipe(**config["recipe"]), config["seed"], {"run_dir": run_dir, "retrain": True}
    if record["kind"] == "train":
        return api.train(network, train, test, recipe, seed, **choices)
    method, options, weights = settings_of(method_label(config))
    teacher = models.create(config["teacher"]["name"], train.num_classes)
    digest = config["teacher"]["weights"]
    (name,) = (name for name, other in course_records().items() if other["final_weights"] == digest)
    models.load_weights(teacher, files.course_dir() / name / WEIGHTS)
    teacher.classes = train.classes
    choices |= {"options": options, "weights": weights}
    return api.distill(network, teacher, train, test, method, recipe, seed, **choices)


@pytest.fixture
def records():
    records = course_records()
    if not records:
        pytest.skip("no run comes with the course yet")
    return records


def test_a_run_is_trained_anew_to_the_last_bit(tiny_sets, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "course_dir", lambda: tmp_path / "course")
    recipe = training.QUICK.but(epochs=2, batch_size=16)
    teacher = training.train(models.create("resnet14", 3, seed=5), *tiny_sets, recipe, seed=5)
    student = models.create("resnet8", 3, seed=1)
    weights, options = {"classification": 1.0, "kd": 2.0}, {"alpha": 0.25}
    choices = {"weights": weights, "options": options}
    run = training.distill(student, teacher.model, *tiny_sets, "dcd+kd", recipe, seed=1, **choices)
    for made in (teacher, run):
        shutil.copytree(made.run_dir, tmp_path / "course" / made.run_dir.name)
    for name, record in course_records().items():
        anew = train_anew(record, *tiny_sets, tmp_path / "anew" / name)
        assert anew.record["final_weights"] == record["final_weights"], name


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
        train_anew(record, train, test, tmp_path / "run")
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
