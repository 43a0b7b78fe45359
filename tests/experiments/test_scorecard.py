"""The scorecard: each verdict from records whose differences are computed on paper."""

import pytest
from hand_made import DATA, SHORT, keep, record

from dcd_utils.experiments import KD_AS_PARTNER, scorecard, scorecard_table
from dcd_utils.experiments.methods import settings_of
from dcd_utils.experiments.report import fill
from dcd_utils.experiments.scorecard import VERDICTS
from dcd_utils.records import make_record

HELD_OUT = DATA | {"name": "tiny, 8 training images held out to test on"}


def grid(teacher=("resnet14", "t"), level=90.0, scale=10.0, **values):
    """Records of a grid: the accuracies of each method, one per seed; `settings` go into every record."""
    settings = values.pop("settings", {})
    longer = {"recipe": SHORT.but(epochs=3), "seed": ord(teacher[1])}
    records = [record(teacher[0], level, final_weights=teacher[1], **settings | longer)]
    for method, accuracies in values.items():
        name, options, weights = settings_of(NAMES.get(method, method))
        for seed, accuracy in enumerate(accuracies):
            more = {"teacher": teacher, "options": options, "weights": weights} if name != "alone" else {}
            made = record("resnet8", accuracy, name, seed, **settings | more)
            made["history"][-1] |= {"scale": scale + seed} if "dcd" in name else {}
            records.append(made)
    return records


NAMES = {"partner": KD_AS_PARTNER, "dcd_kd": "dcd+kd", "crd_kd": "crd+kd", "no_consistency": "dcd@alpha=0"}
NAMES |= {"with_kd": "dcd+kd@alpha=0", "no_bias": "dcd@learn_bias=false", "no_scale": "dcd@learn_scale=false"}
NAMES |= {"few": "dcd@negatives=2"}
MAIN = {"alone": (50, 51, 52), "kd": (55, 53, 57), "partner": (58, 58, 58), "dcd": (55, 56, 58)}
MAIN |= {"dcd_kd": (57, 56, 56), "crd_kd": (50,)}


def card(tmp_path, **folders):
    """The scorecard of folders of records, by the first words of each claim."""
    for name, records in folders.items():
        keep(tmp_path / name, *records)
    table = scorecard(tmp_path, [*folders, "not-there"])
    assert list(table.columns) == ["claim", "published", "ours", "verdict"] and set(table.verdict) <= set(VERDICTS)
    return table.set_index("claim")


def test_verdicts_of_the_main_experiment(tmp_path):
    table = card(tmp_path, main=grid(**MAIN))
    # 5, 5, 6: mean 5.33, error 1/3, 4.303 errors; DCD less KD 0, 3, 1; 4.303 times 0.88
    alone, kd = table.loc["DCD is better than the student alone"], table.loc["DCD is better than KD"]
    assert (alone.ours, alone.verdict) == ("+5.33, +3.90 to +6.77 (n = 3)", "holds here")
    ours = "+1.33, -2.46 to +5.13 (n = 3)\nover KD at 1 and 1: -1.67, -5.46 to +2.13 (n = 3)"
    assert (kd.ours, kd.verdict) == (ours, "not decided")
    # -1, -2, -2
    partner = table.loc["DCD+KD is better than KD at 1 and 1"]
    assert (partner.ours, partner.verdict) == ("-1.67, -3.10 to -0.23 (n = 3)", "does not hold here")
    crd = table.loc["DCD+KD is better than CRD+KD"]
    assert (crd.ours, crd.verdict) == ("+7.00 (n = 1)", "not decided"), "one seed"
    teacher = table.loc["The student sometimes beats its teacher"]
    assert teacher.ours.startswith("-33.67, ") and teacher.verdict == "does not hold here"
    assert table.verdict.value_counts().to_dict() == {
        "not measured": 7, "does not hold here": 3, "not decided": 2, "holds here": 1,
    }  # fmt: skip


def test_what_was_published_comes_from_the_tables(tmp_path):
    published = card(tmp_path, main=grid(**MAIN)).published
    assert published["DCD is better than the student alone"] == "+2.75, above in 13 of 13 pairs"
    assert published["DCD+KD is better than CRD+KD"] == "+0.19, above in 8 of 13 pairs"
    assert published["DCD+KD is better than KD at 1 and 1"].startswith("only against KD at 0.1 and 0.9: +1.51")
    assert published["The student sometimes beats its teacher"] == "DCD+KD in 2 of 13 pairs"
    assert published["Best on CIFAR-100 and on ImageNet"] == "DCD+KD first in 7 of 13 pairs of CIFAR-100"
    travel = published["DCD's features travel better than those of the student alone"]
    assert travel == "+1.5 on STL-10, +1.3 on Tiny ImageNet"


def test_the_parts_are_judged_where_they_were_taken_out(tmp_path):
    study = {"dcd": (50, 51, 52), "no_consistency": (55, 56, 58), "no_bias": (52, 50, 52), "no_scale": (44, 46, 48)}
    study |= {"dcd_kd": (60, 61, 62), "with_kd": (59, 61, 63)}
    held_out = grid(("resnet14", "u"), 80.0, settings={"data": HELD_OUT, "train": "c"}, **study)
    table = card(tmp_path, main=grid(**MAIN), study=held_out)
    consistency = table.loc["The consistency term helps"]
    assert consistency.ours.splitlines() == [
        "tiny, 8 training images held out to test on: -5.33, -6.77 to -3.90 (n = 3)",
        "DCD+KD, tiny, 8 training images held out to test on: +0.00, -2.48 to +2.48 (n = 3)",
    ]
    assert consistency.verdict == "does not hold here"
    bias, scale = table.loc["The learned bias matters"], table.loc["The learned scale matters"]
    assert bias.ours.startswith("its gradient is 0 by algebra") and "-0.33, -4.13 to +3.46 (n = 3)" in bias.ours
    assert bias.verdict == "does not hold here" and scale.verdict == "holds here"
    assert scale.ours.splitlines() == [
        "tiny, 8 training images held out to test on: +5.00, +2.52 to +7.48 (n = 3)",
        "learned, it ends at 10.00 to 12.00 (n = 3; it starts at 2.72, its cap is 10)",
    ], "the scale of the main experiment"


def test_another_teacher_can_contradict_and_another_budget_has_no_say(tmp_path):
    worse = grid(("resnet14", "u"), 70.0, alone=(50, 51, 52), dcd=(45, 46, 46))
    other = grid(("vgg8", "v"), 70.0, alone=(50, 51, 52), dcd=(50, 49, 53))
    longer = grid(settings={"recipe": SHORT.but(epochs=9)}, alone=(50, 51, 52), dcd=(70, 71, 70))
    claim = "DCD is better than the student alone"
    row = card(tmp_path, main=grid(**MAIN), other=other, longer=longer).loc[claim]
    assert row.verdict == "holds here"
    assert row.ours.splitlines()[1:] == ["vgg8 to resnet8: -0.33, -4.13 to +3.46 (n = 3)"]
    row = card(tmp_path, longer=longer, main=grid(**MAIN)).loc[claim]
    assert row.ours == "+19.33, +16.46 to +22.20 (n = 3)", "the first folder is the main experiment"
    row = card(tmp_path, main=grid(**MAIN), worse=worse).loc[claim]
    assert row.verdict == "differs from case to case"
    assert row.ours.splitlines()[1] == "another resnet14 (70.0 %): -5.33, -6.77 to -3.90 (n = 3)"


def test_more_negatives_are_compared_at_one_batch_size(tmp_path):
    claim = "More negatives help"
    row = card(tmp_path, main=grid(**MAIN, few=(50, 50, 50))).loc[claim]  # DCD is 5, 6 and 8 above
    assert row.ours == "all others of a batch, instead of two: +6.33, +2.54 to +10.13 (n = 3)"
    assert row.verdict == "holds here"
    larger = grid(settings={"recipe": SHORT.but(batch_size=64)}, alone=(50, 50, 50), dcd=(40, 40, 40))
    table = card(tmp_path, main=grid(**MAIN), larger=larger)
    assert table.ours["DCD is better than the student alone"].count("\n") == 0, "other batches are no other pair"


def probes(**values):
    """Records of linear probes: the accuracies of each method, one per seed."""
    for method, accuracies in values.items():
        name, teacher = NAMES.get(method, method), {} if method == "alone" else {"teacher": ("resnet14", "t")}
        for seed, accuracy in enumerate(accuracies):
            run = record("resnet8", method=name.partition("@")[0], seed=seed, **teacher)["config"] | {"label": name}
            config = {"kind": "probe", "network": {"name": "x"}, "method": "p", "seed": seed, "run": run}
            labels = {"teacher": "resnet14", "student": "resnet8", "method": name, "seed": seed}
            data = {"name": "tiny", "target": "elsewhere", "train": 10, "test": 10, "classes": 4}
            results = {"accuracy": accuracy, "train_accuracy": 99.0, "C": 0.1, "source_accuracy": 50.0}
            yield make_record(config, data, **labels, **results)


def test_transfer_is_judged_by_the_probes(tmp_path):
    values = {"alone": (40, 41, 42), "dcd": (45, 46, 48), "partner": (45, 45, 45), "dcd_kd": (45, 47, 44)}
    values["kd"] = (48, 49, 51)
    table = card(tmp_path, main=grid(**MAIN), transfer=list(probes(**values)))
    travel = table.filter(like="travel", axis=0)
    assert list(travel.ours) == [
        "tiny to elsewhere: +5.33, +3.90 to +6.77 (n = 3)",
        "tiny to elsewhere: -3.00, -3.00 to -3.00 (n = 3)\n"
        "over KD at 1 and 1, tiny to elsewhere: +1.33, -2.46 to +5.13 (n = 3)",
        "tiny to elsewhere: +0.33, -3.46 to +4.13 (n = 3)",
    ]  # fmt: skip
    assert list(travel.verdict) == (verdicts := ["holds here", "does not hold here", "not decided"])
    alone = card(tmp_path / "alone", transfer=list(probes(**values)))
    assert list(alone.verdict[travel.index]) == verdicts, "without any other record"
    assert alone.verdict["DCD is better than KD"] == "not measured"


def test_a_student_above_its_teacher_in_one_case_is_enough(tmp_path):
    above = grid(("vgg8", "v"), 55.0, dcd_kd=(57, 58, 59))
    row = card(tmp_path, main=grid(**MAIN), above=above).loc["The student sometimes beats its teacher"]
    assert row.verdict == "holds here" and row.ours.splitlines()[1].startswith("vgg8 to resnet8: +3.00, ")


def test_as_markdown_and_in_a_page(tmp_path):
    keep(tmp_path / "main", *grid(**MAIN))
    text, table = scorecard_table(tmp_path, ["main"]), scorecard(tmp_path, ["main"])
    lines = text.splitlines()
    assert lines[0].startswith("Ours: resnet14 to resnet8 on tiny, 2 epochs, fp32") and lines[1] == ""
    assert lines[2] == "| claim | published | ours | verdict |" and len(lines) == 4 + len(table)
    assert lines[4] == "| " + " | ".join(table.iloc[0]) + " |"
    page = tmp_path / "page.md"
    page.write_text("<!-- scorecard: main not-there -->\n<!-- end -->", encoding="utf-8")
    fill(page, tmp_path)
    assert page.read_text(encoding="utf-8") == f"<!-- scorecard: main not-there -->\n{text}<!-- end -->"


def test_no_folder_at_all_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="none of shapes, .* is in"):
        scorecard(tmp_path)
