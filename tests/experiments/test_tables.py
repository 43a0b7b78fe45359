"""One tidy table of all records: what each row says, which rows can be compared, and what becomes of gaps."""

import pytest
from hand_made import DATA, SHORT, keep, pair, record

from dcd_utils import training
from dcd_utils.experiments import read_results
from dcd_utils.experiments.tables import _departures as departures
from dcd_utils.experiments.tables import read_records
from dcd_utils.records import make_record


def groups(table):
    """What stands in each group, in the table's order."""
    return [sorted(zip(part.method, part.seed, strict=True)) for _, part in table.groupby("group", sort=False)]


WHOLE = [("alone", 0), ("alone", 1), ("dcd", 0), ("dcd", 1), ("kd", 0), ("kd", 1), ("teacher", 0)]


def test_a_row_says_what_its_record_says(tmp_path):
    table = read_results(keep(tmp_path / "r", *pair()))
    assert list(table.columns) == [
        "kind", "state", "reason", "dataset", "teacher", "student", "method", "seed", "accuracy", "best_accuracy",
        "epochs", "precision", "plain", "hardware", "torch", "images_per_second", "departs", "group",
    ]  # fmt: skip
    assert list(table.method) == ["teacher", "alone", "alone", "kd", "kd", "dcd", "dcd"]
    row = table.iloc[4]
    assert (row.kind, row.state, row.dataset, row.teacher, row.student) == (
        "distill", "finished", "tiny", "resnet14", "resnet8",
    )  # fmt: skip
    assert (row.seed, row.accuracy, row.best_accuracy, row.epochs, row.precision) == (1, 58, 59, 2, "fp32")
    assert (row.hardware, row.torch, row.images_per_second, row.plain) == ("a computer", "9", 100.0, False)
    assert row.reason is None and row.departs.startswith("tiny instead of CIFAR-100; epochs 2 instead of 240")
    assert groups(table) == [WHOLE] and {*table.student} == {"resnet8"}, "the teacher's row names the pair, too"


def test_folders_below_count_and_an_empty_one_does_not(tmp_path):
    keep(tmp_path / "r" / "a", *pair()), keep(tmp_path / "r" / "b", record("vgg8", 40))
    assert len(read_results(tmp_path / "r")) == 8
    with pytest.raises(FileNotFoundError, match="python -m dcd_utils reproduce first"):
        read_records(tmp_path / "nothing")


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": SHORT.but(epochs=4)},
        {"recipe": SHORT.but(precision="bf16")},
        {"plain": True},
        {"compile": True},
        {"train": "other images"},
        {"test": "other images"},
    ],
    ids=str,
)
def test_what_was_trained_otherwise_is_another_group(tmp_path, change):
    table = read_results(keep(tmp_path / "r", *pair(), *pair(**change)[1:]))
    assert groups(table) == [WHOLE, WHOLE], "the teacher serves both"
    assert len(table) == 14


def test_students_of_another_teacher_are_another_group(tmp_path):
    other = pair(digest="u")[3:]  # KD and DCD
    table = read_results(keep(tmp_path / "r", *pair(), record("resnet14", 70, seed=5, final_weights="u"), *other))
    assert [[entry for entry in group if entry[0] != "teacher"] for group in groups(table)] == [WHOLE[:-1]] * 2
    table = read_results(keep(tmp_path / "s", *pair(), *pair("vgg8", digest="v")))
    assert groups(table) == [WHOLE, WHOLE] and {*table.teacher} == {"resnet14", "vgg8"}


def test_a_run_that_serves_no_pair_stands_by_itself(tmp_path):
    table = read_results(keep(tmp_path / "r", *pair(), record("vgg8", 40), record("resnet8", 9, recipe=training.QUICK)))
    lonely = table[table.teacher.isna()]
    assert sorted(zip(lonely.student, lonely.method, lonely.accuracy, strict=True)) == [
        ("resnet8", "alone", 9.0), ("vgg8", "alone", 40.0),
    ]  # fmt: skip
    assert table.group.nunique() == 3


def test_a_network_that_teaches_itself_is_teacher_and_student(tmp_path):
    alone = [record("resnet8", 50, final_weights="t"), record("resnet8", 52, seed=1, final_weights="u")]
    table = read_results(keep(tmp_path / "r", *alone, record("resnet8", 55, "kd", teacher=("resnet8", "t"))))
    assert groups(table) == [[("alone", 0), ("alone", 1), ("kd", 0), ("teacher", 0)]]
    assert table.set_index("method").accuracy["teacher"] == 50


def test_failed_and_impossible_runs_are_rows(tmp_path):
    failed = record("resnet8", None, "rrd", teacher=("resnet14", "t"), state="failed", reason="inf")
    impossible = record("resnet8", None, "fsp", teacher=("resnet14",), state="not_applicable", reason="channels")
    table = read_results(keep(tmp_path / "r", *pair(), failed, impossible)).set_index("method")
    assert table.group.nunique() == 1, "also what never saw its teacher's weights"
    assert table.state["rrd"] == "failed" and table.reason["rrd"] == "inf"
    assert table.state["fsp"] == "not_applicable" and table.reason["fsp"] == "channels"
    assert table.accuracy[["rrd", "fsp"]].isna().all() and (table.state == "finished").sum() == 7


def test_a_pair_for_which_nothing_works_takes_no_failed_run_for_its_teacher(tmp_path):
    impossible = record("resnet8", None, "fsp", teacher=("resnet14",), state="not_applicable", reason="channels")
    failed = record("vgg8", None, state="failed", reason="nan")
    table = read_results(keep(tmp_path / "r", impossible, failed, record("resnet8", 50)))
    assert sorted(zip(table.student, table.method, table.state, strict=True)) == [
        ("resnet8", "alone", "finished"), ("resnet8", "fsp", "not_applicable"), ("vgg8", "alone", "failed"),
    ]  # fmt: skip


def test_settings_are_part_of_the_method(tmp_path):
    changed = record("resnet8", 61, "dcd", teacher=("resnet14", "t"), options={"alpha": 0.25}, weights={"dcd": 2})
    rounded = record("resnet8", 57, "kd", teacher=("resnet14", "t"), stored_answers="fp16")
    table = read_results(keep(tmp_path / "r", *pair(), changed, rounded))
    assert list(dict.fromkeys(table.method)) == [
        "teacher", "alone", "kd", "kd@stored=fp16", "dcd", "dcd@alpha=0.25,weight=2",
    ]  # fmt: skip


def test_probes_and_benchmarks_are_rows_too(tmp_path):
    labels = {"teacher": "resnet14", "student": "resnet8", "method": "kd", "seed": 1, "source_accuracy": 55.0}
    results = {"accuracy": 30.0, "train_accuracy": 35.0, "C": 0.1}
    data = {"name": "tiny", "target": "elsewhere", "train": 1096, "test": 40, "classes": 4}
    run = record("resnet8", method="kd", seed=1, teacher=("resnet14", "t"))["config"]
    probe = make_record({"kind": "probe", "run": run, "network": {"name": "x"}, "method": "p", "seed": 1}, data)
    rates = {"plain": 10.0, "live": 20.0, "cached": 40.0, "student_alone": 50.0}
    settings = {"teacher": "resnet14", "student": "resnet8", "precision": "fp32"}
    bench = {"kind": "benchmark", "network": {"name": "y"}, "method": "b", "seed": 0}
    timed = make_record(bench, {"name": "random images", "train": 8, "test": 0}, images_per_second=rates, **settings)
    table = read_results(keep(tmp_path / "r", *pair(), probe | labels | results, timed))
    assert table.kind.value_counts().to_dict() == {"distill": 4, "benchmark": 4, "train": 3, "probe": 1}
    row = table[table.kind == "probe"].iloc[0]
    assert (row.dataset, row.target, row.method, row.seed, row.accuracy) == ("tiny", "elsewhere", "kd", 1, 30.0)
    assert (row.train_accuracy, row.C, row.source_accuracy, row.epochs) == (35.0, 0.1, 55.0, 2)
    assert row.images == "1,096 training and 40 test images"
    assert table[table.kind == "benchmark"].set_index("method").images_per_second.to_dict() == rates
    assert table.groupby("kind").group.nunique()[["probe", "benchmark"]].to_list() == [1, 1]
    assert len(read_results(keep(tmp_path / "s", timed))) == 4, "a folder of nothing else"


def test_departures_from_the_published_experiment():
    recipe = {"epochs": 240, "milestones": [150, 180, 210], "learning_rate": 0.01, "precision": "bf16"}
    cifar = {"name": "CIFAR-100", "train": 50_000, "test": 10_000}
    config = {"network": {"name": "ShuffleV1"}, "recipe": recipe}
    assert departures(config, cifar) == departures(config, cifar | {"name": "cifar100"}) == []
    assert departures(config | {"network": {"name": "vgg8"}}, cifar) == ["learning_rate 0.01 instead of 0.05"]
    short = config | {"recipe": recipe | {"epochs": 30}}
    assert departures(short, DATA) == ["tiny instead of CIFAR-100", "epochs 30 instead of 240"]
    assert departures({**config, "recipe": {"precision": "fp32"}}, cifar | {"train": 10_000}) == [
        "10,000 training and 10,000 test images instead of 50,000 and 10,000"
    ], "a teacher from a file has no recipe"
