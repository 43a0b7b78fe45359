"""The committed results: whole records of today's configs, and no table or picture that is stale."""

import shutil
from pathlib import Path

import pytest

from dcd_utils import data, experiments, models, records, training
from dcd_utils.experiments.plan import Plan, _file_name
from dcd_utils.experiments.report import fill
from dcd_utils.training.config import network_facts

CHECKOUT = Path(__file__).resolve().parent.parent
RESULTS = CHECKOUT / "data" / "results"
PAGES = ("README.md", "docs/results.md", "docs/speed.md")


@pytest.mark.parametrize("page", PAGES)
def test_no_table_is_stale(page, tmp_path):
    copy = tmp_path / "page.md"
    shutil.copy(CHECKOUT / page, copy)
    fill(copy, RESULTS)
    assert copy.read_text(encoding="utf-8") == (CHECKOUT / page).read_text(encoding="utf-8"), "run `make results`"


def test_every_folder_of_results_stands_in_a_page():
    text = "".join((CHECKOUT / page).read_text(encoding="utf-8") for page in PAGES)
    folders = [folder.name for folder in RESULTS.iterdir() if folder.is_dir()]
    assert folders and not [name for name in folders if f"<!-- results: {name} -->" not in text]


def test_the_readme_is_one_page():
    assert (CHECKOUT / "README.md").stat().st_size < 9 * 1024


def test_records_are_whole_and_named_by_what_they_are():
    paths = sorted(RESULTS.rglob("*.json"))
    assert len(paths) > 300
    for path in paths:
        record = records.read_record(path)
        assert record["kind"] in records.KINDS and record["state"] in ("finished", "not_applicable")
        if record["kind"] in ("train", "distill", "weights"):
            assert path.name == _file_name(record["config"])
        if record.get("history"):
            assert record["history"][-1]["test_accuracy"] == record["accuracy"]


def test_the_records_of_the_quick_profile_are_those_of_todays_configs():
    train, test = data.load("shapes", device="cpu")
    plan = Plan(train, test)
    recipes = [recipe.but(precision="bf16") for recipe in (training.QUICK, training.QUICK_TEACHER)]
    methods = ("alone", "kd", "dcd", "dcd+kd")
    (teacher,), students = plan.tasks([("resnet20", "resnet8")], methods, range(2, 7), *recipes, teacher_seed=0)
    record = records.read_record(RESULTS / "shapes" / _file_name(plan.config(teacher)))
    facts = network_facts(models.create("resnet20", 20, seed=0), 20) | {"weights": record["final_weights"]}
    plan.facts[teacher] = facts
    names = {_file_name(plan.config(student)) for student in students}
    assert len(names) == 20 and all((RESULTS / "shapes" / name).exists() for name in names)


def test_the_tidy_table_holds_every_record():
    for folder in filter(Path.is_dir, RESULTS.iterdir()):
        table = experiments.read_results(folder)
        assert len(table) >= len(list(folder.glob("*.json")))
        measured = table[(table.state == "finished") & (table.kind != "benchmark")]
        assert measured.accuracy.notna().all()
