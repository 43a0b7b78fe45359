"""One tidy table of all records: what each row says, which rows can be compared, and what becomes of gaps."""

import pandas as pd
import pytest
from hand_made import DATA, SHORT, keep, pair, record

from dcd_utils import training
from dcd_utils.experiments import KD_AS_PARTNER, Paired, gains, paired, read_results
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
        "epochs", "batch_size", "precision", "hardware", "torch", "images_per_second", "departs", "group",
    ]  # fmt: skip
    assert list(table.method) == ["teacher", "alone", "alone", "kd", "kd", "dcd", "dcd"]
    row = table.iloc[4]
    assert (row.kind, row.state, row.dataset, row.teacher, row.student) == (
        "distill", "finished", "tiny", "resnet14", "resnet8",
    )  # fmt: skip
    assert (row.seed, row.accuracy, row.best_accuracy, row.epochs, row.batch_size) == (1, 58, 59, 2, 16)
    assert (row.hardware, row.torch, row.images_per_second, row.precision) == ("a computer", "9", 100.0, "fp32")
    assert row.reason is None and row.departs.startswith("tiny instead of CIFAR-100; epochs 2 instead of 240")
    assert groups(table) == [WHOLE] and {*table.student} == {"resnet8"}, "the teacher's row names the pair, too"


def test_folders_below_count_and_an_empty_one_does_not(tmp_path):
    keep(tmp_path / "r" / "a", *pair()), keep(tmp_path / "r" / "b", record("vgg8", 40))
    assert len(read_results(tmp_path / "r")) == 8
    with pytest.raises(FileNotFoundError, match="python -m dcd_utils reproduce first"):
        read_records(tmp_path / "nothing")


def test_several_folders_are_one_table_and_a_run_counts_once(tmp_path):
    first, second = pair()[:5], pair()[3:]  # both hold KD
    second[0]["accuracy"], failed = 99.0, second[1] | {"state": "failed"}
    folders = keep(tmp_path / "a", *first), keep(tmp_path / "b", *second)
    table = read_results(*folders)
    assert groups(table) == [WHOLE] and list(table[table.method == "kd"].accuracy) == [55, 58], "the first one counts"
    assert len(read_records(*folders)) == 7 and len(read_records(*folders[::-1])) == 7
    states = [entry["state"] for entry in read_records(keep(tmp_path / "c", failed), folders[1])]
    assert states == ["finished"] * 4, "a finished run replaces one that failed"
    with pytest.raises(FileNotFoundError, match="nothing"):
        read_records(folders[0], tmp_path / "nothing")


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


def test_a_pair_has_the_teacher_that_it_learned_from_and_no_other(tmp_path):
    longer = SHORT.but(epochs=3)
    others = [record("resnet14", accuracy, seed=seed, recipe=longer) for seed, accuracy in ((1, 70), (2, 75))]
    table = read_results(keep(tmp_path / "r", *pair(), *others))
    assert groups(table) == [WHOLE, [("alone", 0), ("alone", 1), ("alone", 2)]]
    assert list(table[table.method == "teacher"].accuracy) == [80]
    apart = table[table.teacher.isna()]
    assert list(apart.student) == ["resnet14"] * 3 and list(apart.accuracy) == [80, 70, 75], "their spread, by itself"


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
    table = read_results(keep(tmp_path / "r", *pair(), changed))
    assert list(dict.fromkeys(table.method)) == [
        "teacher", "alone", "kd", "dcd", "dcd@alpha=0.25,weight=2",
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


# differences 5, 6, 7: mean 6, standard deviation 1, over the root of 3; then 1 and 3: mean 2, error 1
FIVE = [("kd", 0, 55.0), ("kd", 1, 57.0), ("kd", 2, 58.0), ("alone", 0, 50.0), ("alone", 1, 51.0), ("alone", 2, 51.0)]
FIVE += [("dcd", 1, 58.0), ("dcd", 2, 61.0), ("dcd", 7, 99.0), ("at", 2, 40.0), ("sp", 0, float("nan"))]
FIVE += [(KD_AS_PARTNER, 1, 60.0), ("fitnet+kd", 0, 50.0), ("fitnet+kd", 2, 51.0)]
RUNS = pd.DataFrame(FIVE, columns=["method", "seed", "accuracy"])


def test_a_difference_is_that_of_the_seeds_which_both_have():
    three = paired(RUNS, "kd", "alone")
    assert (three.n, three.mean) == (3, 6) and three.error == pytest.approx(1 / 3**0.5)
    assert (three.high - 6) / three.error == (6 - three.low) / three.error == pytest.approx(4.303, abs=5e-4)
    assert three.differs and str(three) == "+6.00 ± 0.58 (n = 3)" and three.words == f"{three}: a difference"
    two = paired(RUNS, "dcd", "kd")
    assert (two.n, two.mean, two.error) == (2, 2, 1) and two.high - 2 == pytest.approx(12.706, abs=5e-4)
    assert not two.differs and two.words == "+2.00 ± 1.00 (n = 2): no difference shown"
    back = paired(RUNS, "alone", "kd")
    assert back.differs and (back.mean, back.low, back.high) == (-6, -three.high, -three.low)


def test_one_seed_shows_nothing_and_none_is_not_measured():
    one = paired(RUNS, "at", "alone")
    assert one == Paired(1, -11.0) and not one.differs and one.words == "-11.00 (n = 1): one seed shows nothing"
    for method in ("sp", "rkd"):  # failed, and not run
        none = paired(RUNS, method, "alone")
        assert none.n == 0 and not none.differs and none.words == str(none) == "not measured"
    equal = paired(RUNS, "fitnet+kd", "alone")
    assert (equal.mean, equal.error, equal.low, equal.high, equal.differs) == (0, 0, 0, 0, False)


@pytest.mark.parametrize(("n", "factor"), [(2, 12.706), (3, 4.303), (5, 2.776)])
def test_the_interval_reaches_as_far_as_students_t(n, factor):
    differences = [float(k) for k in range(n)]
    shown = Paired.of(differences)
    assert (shown.high - shown.mean) / shown.error == pytest.approx(factor, abs=5e-4)
    shifted = [value - shown.mean + shown.error * factor for value in differences]
    assert Paired.of([value + 1e-2 for value in shifted]).differs
    assert not Paired.of([value - 1e-2 for value in shifted]).differs


def test_what_cannot_be_paired_is_refused(tmp_path):
    with pytest.raises(ValueError, match="several runs of one method under one seed"):
        paired(pd.concat([RUNS, RUNS[:1]]), "kd", "alone")
    table = read_results(keep(tmp_path / "r", *pair(), *pair(recipe=SHORT.but(epochs=4))[1:]))
    with pytest.raises(ValueError, match="of 2 groups, which cannot be compared"):
        paired(table, "kd", "alone")
    assert paired(table[table.group == table.group[0]], "kd", "alone").mean == 5.5


def test_gains_say_what_each_method_reads():
    table = gains(RUNS).set_index("method")
    assert list(table.index) == ["kd", KD_AS_PARTNER, "fitnet+kd", "at", "dcd"]
    assert list(table.title) == ["KD", "KD at 1 and 1", "FitNet+KD", "AT", "DCD"]
    assert list(table.reads) == ["logits", "logits", "maps", "maps", "pooled"]
    assert list(table.beside) == ["", "", "KD", "", ""]
    assert list(table.n) == [3, 1, 2, 1, 2] and list(table["mean"]) == [6, 9, 0, -11, 8.5]
    assert table.low.isna().tolist() == [False, True, False, True, False]
    assert table.loc["kd", ["error", "low", "high"]].tolist() == pytest.approx([0.577, 3.516, 8.484], abs=1e-3)
    assert list(gains(RUNS, against="kd").method) == [KD_AS_PARTNER, "fitnet+kd", "at", "dcd"]
    assert gains(RUNS[:0]).empty
