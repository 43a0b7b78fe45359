"""The committed results: whole records of today's configs, and no table or picture that is stale."""

import shutil
from pathlib import Path

import pytest

from dcd_utils import experiments, records
from dcd_utils.experiments.grid import _file_name
from dcd_utils.experiments.plan import Plan
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
    assert len(paths) > 200
    for path in paths:
        record = records.read_record(path)
        assert record["kind"] in ("train", "distill", "weights", "probe", "benchmark")
        assert record["state"] in ("finished", "not_applicable")
        if record["kind"] in ("train", "distill", "weights"):
            assert path.name == _file_name(record["config"])
        if record.get("history"):
            assert record["history"][-1]["test_accuracy"] == record["accuracy"]


def test_the_records_of_the_quick_profile_are_those_of_todays_configs():
    quick, methods = experiments.profile("quick"), ("alone", "kd", experiments.KD_AS_PARTNER, "dcd", "dcd+kd")
    train, test = quick.load(device="cpu")
    plan, pairs = Plan(train, test), [(quick.teacher, quick.student)]
    recipes = (quick.recipe, quick.teacher_recipe)
    (teacher,), students = plan.tasks(pairs, methods, quick.seeds, *recipes, quick.teacher_seed)
    record = records.read_record(RESULTS / "shapes" / _file_name(plan.config(teacher)))
    plan.facts[teacher] = network_facts(plan.network(teacher), train.num_classes) | {"weights": record["final_weights"]}
    names = {_file_name(plan.config(student)) for student in students}
    assert len(names) == 5 * len(quick.seeds)
    assert not [name for name in names if not (RESULTS / "shapes" / name).exists()]


@pytest.mark.parametrize("folder", [folder.name for folder in RESULTS.glob("shapes*")])
def test_what_has_kd_beside_it_has_its_control(folder):
    for _, part in experiments.read_results(RESULTS / folder).groupby("group"):
        beside = part[part.method.str.partition("@")[0].str.endswith("+kd") & (part.state == "finished")]
        control = part[part.method == experiments.KD_AS_PARTNER]
        assert set(beside.seed) <= set(control.seed), "KD at 1 and 1, under the same seeds"


def test_the_tidy_table_holds_every_record():
    for folder in filter(Path.is_dir, RESULTS.iterdir()):
        table = experiments.read_results(folder)
        assert len(table) >= len(list(folder.glob("*.json")))
        measured = table[(table.state == "finished") & (table.kind != "benchmark")]
        assert measured.accuracy.notna().all()
