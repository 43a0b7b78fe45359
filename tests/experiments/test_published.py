"""The published figures, and ours beside them."""

import pytest
from hand_made import SHORT, keep, record

from dcd_utils import losses, models, training
from dcd_utils.experiments import comparison, published, read_results


def test_published_table_names_what_the_package_knows():
    table = published()
    assert list(table.columns) == ["teacher", "student", "method", "accuracy", "source"]
    pairs = set(zip(table.teacher, table.student, strict=True))
    assert len(pairs) == 13 and {name for pair in pairs for name in pair} <= set(models.names())
    assert len(table) == 13 * 20 and not table.duplicated(["teacher", "student", "method"]).any()
    for method in set(table.method) - {"teacher", "alone"}:
        losses.parse(method)
    absent = table[table.accuracy.isna()]
    assert set(absent.method) == {"fsp"} and len(absent) == 7
    assert set(table[table.source == "authors' README"].method) == {"dcd", "dcd+kd", "rrd", "rrd+kd"}
    assert (table.groupby("teacher").accuracy.nunique() > 0).all()


@pytest.mark.parametrize(
    ("pair", "method", "accuracy"),
    [
        (("wrn_40_2", "wrn_16_2"), "dcd+kd", 76.06),
        (("resnet56", "resnet20"), "kd", 70.66),
        (("resnet110", "resnet32"), "teacher", 74.31),
        (("vgg13", "MobileNetV2"), "at", 59.40),
        (("ResNet50", "vgg8"), "rrd+kd", 74.26),
        (("wrn_40_2", "ShuffleV1"), "crd+kd", 76.27),
    ],
)
def test_published_figures(pair, method, accuracy):
    table = published().set_index(["teacher", "student", "method"]).accuracy
    assert table[(*pair, method)] == accuracy


def test_published_transfer():
    assert published("stl10").set_index("method").accuracy["dcd+kd"] == 72.5
    assert published("tiny_imagenet").set_index("method").accuracy["alone"] == 33.7
    with pytest.raises(ValueError, match="cifar100, stl10, tiny_imagenet"):
        published("shapes")


CIFAR = {"name": "CIFAR-100", "train": 50_000, "test": 10_000}
BF16 = training.PAPER.but(precision="bf16")


def ours(*rows: tuple, recipe=BF16, data=CIFAR) -> list[dict]:
    """Records of (teacher, student, method, seed, accuracy); accuracy may be a state."""
    records = []
    for teacher, student, method, seed, accuracy in rows:
        state = accuracy if isinstance(accuracy, str) else None
        settings = {"recipe": recipe, "data": data, "seed": seed, "state": state, "reason": "it is so"}
        value = None if state else accuracy
        if method == "teacher":
            records.append(record(teacher, value, final_weights=f"of {teacher}", **settings))
        else:
            settings |= {"teacher": (teacher, f"of {teacher}")} if method != "alone" else {}
            records.append(record(student, value, method, **settings))
    return records


def cells(text: str, name: str) -> list[list[str]]:
    """The cells behind a row's name, in every table of the text."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [row[1:] for row in rows if row[0] == name]


R, W = ("resnet56", "resnet20"), ("wrn_40_2", "wrn_40_1")


def test_comparison_shows_hits_and_misses_alike(tmp_path):
    rows = [(*R, "teacher", 0, 72.00), (*R, "kd", 0, 71.00), (*R, "kd", 1, 71.50), (*R, "dcd", 0, 70.18)]
    rows += [(*R, "dkd+kd", 0, 71.00), (*R, "rkd", 0, "failed"), (*R, "kd", 2, "failed")]
    rows += [(*W, "dcd", 0, 74.69), (*W, "fsp", 0, "not_applicable")]
    text = comparison(keep(tmp_path, *ours(*rows)))
    assert "| wrn_40_2 to wrn_40_1: ours | published | difference | resnet56 to resnet20: ours |" in text
    assert cells(text, "KD") == [["not run", "73.54", "", "71.25 ± 0.35 (2), 1 failed", "70.66", "+0.59"]]
    assert cells(text, "DCD") == [["74.69 (1)", "73.69", "+1.00", "70.18 (1)", "71.18", "-1.00"]]
    assert cells(text, "teacher") == [["not run", "75.61", "", "72.00 (1)", "72.34", "-0.34"]]
    assert cells(text, "FSP") == [["n/a", "n/a", "", "not run", "69.95", ""]]
    assert cells(text, "RKD") == [["not run", "72.22", "", "failed", "69.61", ""]]
    assert cells(text, "DKD+KD") == [["not run", "-", "", "71.00 (1)", "-", ""]]
    order = [line.split("|")[1].strip() for line in text.splitlines() if line[:1] == "|"]
    assert order[2:5] == ["teacher", "student alone", "KD"] and order[-2:] == ["RRD+KD", "DKD+KD"]
    assert "Of 3 distilled figures 2 reach the published one and 1 lie below it; mean difference +0.20." in text
    assert "240 epochs, bf16" in text and "a computer" in text and "Not the published" not in text


def test_comparison_says_when_it_is_no_test_of_the_paper(tmp_path):
    row, stranger = (*R, "kd", 0, 60.0), ("resnet20", "resnet8", "kd", 0, 50.0)
    short = ours(row, recipe=BF16.but(epochs=15))
    text = comparison(keep(tmp_path / "short", *short))
    assert "**Not the published experiment** (epochs 15 instead of 240)" in text
    assert "Nothing was published for resnet20 to resnet8." in comparison(keep(tmp_path / "two", *ours(row, stranger)))
    with pytest.raises(ValueError, match="nothing was published for resnet20 to resnet8: choose among wrn_40_2 to"):
        comparison(read_results(keep(tmp_path / "one", *ours(stranger))))
    with pytest.raises(FileNotFoundError, match="no records"):
        comparison(tmp_path / "nothing")


def test_comparison_does_not_mix_recipes(tmp_path):
    rows = [(*R, "alone", 0, 60.0), (*R, "kd", 0, 62.0)]
    folder = keep(tmp_path, *ours(*rows), *ours((*R, "kd", 0, 50.0), recipe=SHORT), *ours((*W, "kd", 0, 70.0)))
    text = comparison(folder)
    heads = cells(text, "")[0][::3]
    assert heads[0] == "wrn_40_2 to wrn_40_1 (240 epochs, bf16): ours" and sorted(heads[1:]) == [
        "resnet56 to resnet20 (2 epochs, batch 16, fp32): ours", "resnet56 to resnet20 (240 epochs, bf16): ours",
    ]  # fmt: skip
    assert sorted(cells(text, "KD")[0][3::3]) == ["50.00 (1)", "62.00 (1)"]
    assert "Of 3 distilled figures" in text


def test_kd_at_1_and_1_stands_behind_kd_though_it_was_not_published(tmp_path):
    partner = record("resnet20", 72.0, "kd", teacher=("resnet56", "of resnet56"), recipe=BF16, data=CIFAR,
                     weights={"classification": 1.0, "kd": 1.0})  # fmt: skip
    text = comparison(keep(tmp_path, *ours((*R, "kd", 0, 71.00)), partner))
    names = [line.split("|")[1].strip() for line in text.splitlines() if line[:1] == "|"]
    assert names[4:7] == ["KD", "KD at 1 and 1", "FitNet"]
    assert cells(text, "KD at 1 and 1") == [["72.00 (1)", "-", ""]] and "Of 1 distilled figures" in text


def test_more_than_four_pairs_go_into_several_tables(tmp_path):
    pairs = list(dict.fromkeys(zip(*(published()[key] for key in ("teacher", "student")), strict=True)))
    text = comparison(keep(tmp_path, *ours(*((*pair, "kd", 0, 70.0) for pair in pairs))))
    assert [len(row) for row in cells(text, "KD")] == [12, 12, 12, 3]
