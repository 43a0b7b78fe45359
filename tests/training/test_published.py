import pandas as pd
import pytest

from dcd_utils import losses, models, training
from dcd_utils.training.report import _departures as departures


def test_published_table_names_what_the_package_knows():
    table = training.published()
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
    table = training.published().set_index(["teacher", "student", "method"]).accuracy
    assert table[(*pair, method)] == accuracy


def test_published_transfer():
    assert training.published("stl10").set_index("method").accuracy["dcd+kd"] == 72.5
    assert training.published("tiny_imagenet").set_index("method").accuracy["alone"] == 33.7
    with pytest.raises(ValueError, match="cifar100, stl10, tiny_imagenet"):
        training.published("shapes")


def results(*rows: tuple, departs: str = "") -> pd.DataFrame:
    """What `read_results` returns for rows of (teacher, student, method, seed, accuracy)."""
    table = pd.DataFrame(rows, columns=["teacher", "student", "method", "seed", "accuracy"])
    about = {"dataset": "cifar100", "epochs": 240, "precision": "bf16", "plain": False, "torch": "2.14"}
    return table.assign(**about, hardware="a computer", departs=departs)


def cells(text: str, name: str) -> list[list[str]]:
    """The cells behind a row's name, in every table of the text."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [row[1:] for row in rows if row[0] == name]


def test_comparison_shows_hits_and_misses_alike():
    pair, other = ("resnet56", "resnet20"), ("wrn_40_2", "wrn_40_1")
    table = results(
        (*pair, "teacher", 0, 72.00),
        (*pair, "kd", 0, 71.00),
        (*pair, "kd", 1, 71.50),
        (*pair, "dcd", 0, 70.18),
        (*pair, "dkd+kd", 0, 71.00),
        (*other, "dcd", 0, 74.69),
    )
    table.attrs["not_applicable"] = {(*other, "fsp"): "channels"}
    text = training.comparison(table)
    assert "| | wrn_40_2 to wrn_40_1: ours | published | difference | resnet56 to resnet20: ours |" in text
    assert cells(text, "KD") == [["not run", "73.54", "", "71.25 ± 0.35 (2)", "70.66", "+0.59"]]
    assert cells(text, "DCD") == [["74.69 (1)", "73.69", "+1.00", "70.18 (1)", "71.18", "-1.00"]]
    assert cells(text, "teacher") == [["not run", "75.61", "", "72.00 (1)", "72.34", "-0.34"]]
    assert cells(text, "FSP") == [["n/a", "n/a", "", "not run", "69.95", ""]]
    assert cells(text, "DKD+KD") == [["not run", "-", "", "71.00 (1)", "-", ""]]
    order = [line.split("|")[1].strip() for line in text.splitlines() if line[:1] == "|"]
    assert order[2:5] == ["teacher", "student alone", "KD"] and order[-2:] == ["RRD+KD", "DKD+KD"]
    assert "Of 3 distilled figures 2 reach the published one and 1 lie below it; mean difference +0.20." in text
    assert "240 epochs, bf16" in text and "a computer" in text and "Not the published" not in text


def test_comparison_says_when_it_is_no_test_of_the_paper():
    row = ("resnet56", "resnet20", "kd", 0, 60.0)
    text = training.comparison(results(row, departs="epochs 15 instead of 240"))
    assert "**Not the published experiment** (epochs 15 instead of 240)" in text
    stranger = ("resnet20", "resnet8", "kd", 0, 50.0)
    assert "Nothing was published for resnet20 to resnet8." in training.comparison(results(row, stranger))
    with pytest.raises(ValueError, match="nothing was published for resnet20 to resnet8: choose among wrn_40_2 to"):
        training.comparison(results(stranger))


def test_more_than_four_pairs_go_into_several_tables():
    pairs = list(dict.fromkeys(zip(*(training.published()[key] for key in ("teacher", "student")), strict=True)))
    text = training.comparison(results(*((*pair, "kd", 0, 70.0) for pair in pairs)))
    assert [len(row) for row in cells(text, "KD")] == [12, 12, 12, 3]


def test_departures_from_the_published_experiment():
    recipe = training.recipe_for(training.PAPER, "ShuffleV1")
    log = {
        "dataset": "CIFAR-100",
        "images": [50_000, 10_000],
        "config": {"network": "ShuffleV1", "recipe": {"epochs": 240, "milestones": [150, 180, 210]}},
    }
    log["config"]["recipe"] |= {"learning_rate": recipe.learning_rate, "precision": "bf16"}
    assert departures(log) == []
    log["config"]["recipe"]["epochs"] = 30
    assert departures({**log, "dataset": "shapes"}) == ["shapes instead of CIFAR-100", "epochs 30 instead of 240"]
    log["config"] = {"network": "ShuffleV1", "kind": "weights"}
    assert departures({**log, "images": [10_000, 10_000]}) == [
        "10,000 training and 10,000 test images instead of 50,000 and 10,000"
    ]


def test_the_mobile_networks_learn_at_their_published_rate():
    assert training.recipe_for(training.PAPER, "MobileNetV2").learning_rate == 0.01
    assert training.recipe_for(training.PAPER.but(precision="fp32"), "ShuffleV2").learning_rate == 0.01
    assert training.recipe_for(training.PAPER, "vgg8") == training.PAPER
    assert training.recipe_for(training.QUICK, "ShuffleV1") == training.QUICK


def test_method_order_knows_every_method_and_plus():
    given = ["dcd+kd", "made_up", "kd", "dcd", "alone", "kd+dkd", "teacher", "dcd+dkd"]
    ordered = sorted(given, key=training.method_order)
    assert ordered == ["teacher", "alone", "kd", "kd+dkd", "dcd", "dcd+kd", "dcd+dkd", "made_up"]
