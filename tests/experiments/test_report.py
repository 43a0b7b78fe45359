"""Tables as Markdown: hand-made records whose means, spreads and differences are computed on paper."""

import pytest
from hand_made import SHORT, keep, pair, record

from dcd_utils.experiments import report
from dcd_utils.experiments.report import _TERMS as TERMS
from dcd_utils.experiments.report import draw, fill, markdown, published_probes, speed_table, summary
from dcd_utils.records import make_record


def rows(text: str) -> dict[str, list[str]]:
    """The cells behind each row's name."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {name: cells for name, *cells in lines if set(name) != {"-"}}


def test_mean_spread_and_paired_differences_are_those_of_the_records(tmp_path):
    text = report(keep(tmp_path / "r", *pair()))
    # 50 and 52: mean 51, deviations 1 and 1, over n - 1 = 1: the root of 2; KD is 5 and 6 above: 5.5, error 0.5
    assert rows(text) == {
        "": ["mean ± spread (seeds)", "above student alone", "accuracy of every seed"],
        "teacher (resnet14)": ["80.00 (1)", "", "80.00"],
        "student alone (resnet8)": ["51.00 ± 1.41 (2)", "", "50.00, 52.00"],
        "KD": ["56.50 ± 2.12 (2)", "+5.50 ± 0.50 (2)", "55.00, 58.00"],
        "DCD": ["57.00 ± 4.24 (2)", "+6.00 ± 4.00 (2)", "60.00, 54.00"],
    }
    terms, _, rest = text.partition("resnet14")
    assert terms == TERMS and rest.splitlines()[0] == (
        " to resnet8 on tiny: 2 (teacher 3) epochs, batch 16, fp32, last epoch, top-1 % on the test images. "
        "Hardware: a computer. torch 9."
    )


def under(method, *accuracies, seeds=range(9), **more):
    """Records of a method's students of the teacher that `pair` has."""
    runs = zip(seeds, accuracies, strict=False)
    return [record("resnet8", value, method, seed, teacher=("resnet14", "t"), **more) for seed, value in runs]


ONES = {"weights": {"classification": 1.0, "kd": 1.0}}


def test_what_stands_beside_kd_is_compared_with_kd_at_the_same_weights(tmp_path):
    records = [*pair(), *under("dcd+kd", 62, 64.25, 99), *under("at+kd", 58)]
    text = report(keep(tmp_path / "without", *records))
    assert rows(text)["DCD+KD"] == ["75.08 ± 20.74 (3)", "**+12.12 ± 0.12** (2)", "62.00, 64.25, 99.00"]
    assert "KD at 1 and 1 was not measured" in text and "above KD at 1 and 1" not in text
    text = report(keep(tmp_path / "with", *records, *under("kd", 60, 63.25, 80, **ONES)))
    table = rows(text)
    assert list(table)[3:5] == ["KD", "KD at 1 and 1"] and "was not measured" not in text
    assert table[""][:3] == ["mean ± spread (seeds)", "above student alone", "above KD at 1 and 1"]
    # 2, 1 and 19 above: mean 7.33, standard deviation 10.12, over the root of 3
    assert table["DCD+KD"][1:3] == ["**+12.12 ± 0.12** (2)", "+7.33 ± 5.84 (3)"]
    assert table["AT+KD"][:3] == ["58.00 (1)", "+8.00 (1)", "-2.00 (1)"], "one seed: no mark"
    assert table["KD"][2] == table["KD at 1 and 1"][2] == table["DCD"][2] == table["teacher (resnet14)"][2] == ""


def test_a_changed_setting_is_compared_with_the_published_one(tmp_path):
    changed = under("dcd", 61, 55.125, options={"alpha": 0})
    table = rows(report(keep(tmp_path / "r", *pair(), *changed, *under("kd", 60, **ONES))))
    assert table[""][2] == "above the published setting"
    assert table["DCD, alpha=0"][2] == "**+1.06 ± 0.06** (2)" and table["KD at 1 and 1"][2] == table["DCD"][2] == ""


def test_teachers_of_other_seeds_do_not_move_the_level_of_the_one_that_taught(tmp_path):
    longer = SHORT.but(epochs=3)
    others = [record("resnet14", accuracy, seed=seed, recipe=longer) for seed, accuracy in ((1, 70), (2, 75))]
    text = report(keep(tmp_path / "r", *pair(), *others))
    assert rows(text)["teacher (resnet14)"][0] == "80.00 (1)"
    assert "\nresnet14 on tiny: 3 epochs" in text and rows(text)["resnet14 alone"][0] == "75.00 ± 5.00 (3)"


def test_failed_runs_count_for_nothing_and_are_told(tmp_path):
    failed = [record("resnet8", None, name, 7, teacher=("resnet14", "t"), state="failed", reason=f"{name} is nan")
              for name in ("kd", "rrd")]  # fmt: skip
    absent = [record("resnet8", None, "fitnet", seed, teacher=("resnet14",), state="not_applicable", reason="channels")
              for seed in (0, 1)]  # fmt: skip
    text = report(keep(tmp_path / "r", *pair(), *failed, *absent))
    table = rows(text)
    assert table["KD"] == ["56.50 ± 2.12 (2), 1 failed", "+5.50 ± 0.50 (2)", "55.00, 58.00, failed (seed 7)"]
    assert table["RRD"] == ["failed", "", "failed (seed 7)"] and "FitNet" not in table
    assert text.count("n/a: FitNet: channels.") == 1 and "Failed: RRD, seed 7: rrd is nan." in text


def test_every_group_has_its_table(tmp_path):
    slow = pair(shift=10, recipe=SHORT.but(epochs=9))
    text = report(keep(tmp_path / "r", *pair(), *slow[1:], *pair("vgg8", digest="v")[0::3]))
    assert text.count("| student alone (resnet8) |") == 3
    assert "resnet14 to resnet8 on tiny: 9 (teacher 3) epochs" in text and "| 61.00 ± 1.41 (2) |" in text
    assert "vgg8 to resnet8 on tiny: 2 (teacher 3) epochs" in text and "teacher (vgg8)" in text
    alone = report(keep(tmp_path / "s", record("vgg8", 40))).removeprefix(TERMS)
    assert alone.startswith("vgg8 on tiny: 2 epochs, batch 16, fp32, last") and "| vgg8 alone | 40.00 (1) |" in alone


def probe(method, seed, accuracy, source=None, dataset="tiny", target="elsewhere"):
    config = {"kind": "probe", "network": {"name": target}, "method": method, "seed": seed}
    recipe = SHORT.but(epochs=30) if method == "teacher" else SHORT
    config["run"] = record("resnet8", seed=seed, recipe=recipe)["config"] if method != "random" else {}
    data = {"name": dataset, "target": target, "train": 1096, "test": 40, "classes": 4}
    labels = {"teacher": "resnet14", "student": "resnet8", "method": method, "seed": seed, "source_accuracy": source}
    made = make_record(config, data, accuracy=accuracy, train_accuracy=99.0, C=0.1, **labels)
    return made | {"hardware": "a computer", "versions": {"torch": "9"}}


def test_probes_are_compared_with_the_student_alone(tmp_path):
    probes = [probe("random", 0, 26.0), probe("teacher", 0, 70.0, 80.0), probe("alone", 0, 40.0, 50.0)]
    probes += [probe("alone", 1, 42.0, 53.0), probe("kd", 0, 44.0, 55.0), probe("kd", 1, 40.0, 55.5)]
    text = report(keep(tmp_path / "r", *probes))
    assert rows(text) == {
        "": ["mean ± spread (seeds)", "above student alone", "on tiny"],
        "untrained student": ["26.00 (1)", "-14.00 (1)", ""],
        "teacher": ["70.00 (1)", "", "80.00"],
        "student alone": ["41.00 ± 1.41 (2)", "", "51.50"],
        "KD": ["42.00 ± 2.83 (2)", "+1.00 ± 3.00 (2)", "55.25"],
    }
    assert "(1,096 training and 40 test images); guessing gives 25.00. Students: 2 epochs on tiny." in text
    assert "Published" not in text


def test_probes_from_cifar100_stand_beside_the_published_ones(tmp_path):
    text = report(keep(tmp_path / "r", probe("alone", 0, 66.0, 70.0, "CIFAR-100", "stl10")))
    table = rows(text)
    assert table["student alone"] == ["66.00 (1)", "69.70", "70.00"]
    assert table["DCD+KD"] == ["not run", "72.50", ""] and "**Not our probe**" in text
    assert published_probes("cifar100", "tiny_imagenet")["alone"] == 33.7
    assert published_probes("shapes", "stl10") == published_probes("cifar100", "new_shapes") == {}


def bench(student, plain, batch_size=64):
    rates = {"plain": plain, "live": 2 * plain, "cached": 3.5 * plain, "student_alone": 4 * plain}
    settings = {"teacher": "resnet14", "student": student, "precision": "bf16", "batch_size": batch_size, "rounds": 3}
    config = {"kind": "benchmark", "network": {"name": student}, "method": "b", "seed": 0}
    results = {"images_per_second": rates, "speedup": {"live": 2.0, "cached": 3.5}, "of_student_alone": 0.875}
    results |= {"components": {"teacher": 30.0}, "ms_per_step": {"live": 120.0}}
    made = make_record(config, {"name": "random images"}, **settings, **results)
    return made | {"hardware": "a computer", "versions": {"torch": "9"}}


def test_benchmarks_the_quickest_pair_first(tmp_path):
    text = report(keep(tmp_path / "r", bench("resnet8", 100.0), bench("vgg8", 1000.0)))
    assert text == speed_table([bench("resnet8", 100.0), bench("vgg8", 1000.0)])
    table = rows(text)
    assert list(table)[1:3] == ["resnet14 to vgg8", "resnet14 to resnet8"]
    # 9 runs of 12 million images at 1,000 per second: 30 hours
    expected = ["1,000", "2,000 (2.00)", "3,500 (3.50)", "4,000", "88%", "25%", "30 / 15 / 10"]
    assert table["resnet14 to vgg8"] == expected
    assert text.count("a computer; torch 9, bf16, batch 64, median of 3 rounds") == 1, "one machine, named once"


def test_all_kinds_in_one_folder(tmp_path):
    text = report(keep(tmp_path / "r", *pair(), probe("kd", 0, 44.0, 55.0), bench("resnet8", 100.0)))
    assert text.index("| accuracy of every") < text.index("| on tiny |") < text.index("| plain way |")


def test_a_summary_has_a_row_for_every_group_of_every_folder(tmp_path):
    first, second = keep(tmp_path / "a", *pair()), keep(tmp_path / "b", *pair("vgg8", shift=1)[:4])
    keep(first, *under("kd", 60, **ONES))
    assert summary([first, second]) == (
        "| top-1 %, mean ± spread (seeds) | teacher | student alone | KD | KD at 1 and 1 | DCD | DCD+KD |\n"
        "|---|---|---|---|---|---|---|\n"
        "| tiny, 2 (teacher 3) epochs, batch 16, fp32: resnet14 to resnet8 | 80.00 (1) | 51.00 ± 1.41 (2) "
        "| 56.50 ± 2.12 (2) | 60.00 (1) | 57.00 ± 4.24 (2) | not run |\n"
        "| tiny, 2 (teacher 3) epochs, batch 16, fp32: vgg8 to resnet8 | 81.00 (1) | 52.00 ± 1.41 (2) | 56.00 (1) "
        "| not run | not run | not run |\n"
    )


def test_markdown():
    assert markdown(("", "a"), [("b", "1"), ("c", "")]) == "|  | a |\n|---|---|\n| b | 1 |\n| c |  |\n"


PAGE = (
    "# Title\r\n\r\ntabs\tand ünicode \\1 \\g<0>\n<!-- a comment --> <!-- end -->\n"
    "<!-- results: a -->\nold\n| table |\n<!-- end -->\nbetween\n\n"
    "<!-- summary: a b -->\r\n<!-- end --> behind\n<!-- published: c -->\n<!-- end -->\n"
    "<!-- results: b -->\n<!-- end -->\nno newline at the end"
)


@pytest.fixture
def results(tmp_path):
    keep(tmp_path / "results" / "a", *pair()), keep(tmp_path / "results" / "b", *pair("vgg8"))
    keep(tmp_path / "results" / "c", record("resnet20", 60, "kd", teacher=("resnet56", "t")))
    return tmp_path / "results"


def test_every_place_of_a_page_is_filled_and_the_rest_is_left_byte_for_byte(results, tmp_path):
    page = tmp_path / "page.md"
    page.write_bytes(PAGE.encode())
    fill(page, results)
    text = page.read_bytes().decode()
    before, rest = text.split("<!-- results: a -->\n")
    table, rest = rest.split("<!-- end -->\nbetween\n\n<!-- summary: a b -->\r\n")
    both, rest = rest.split("<!-- end --> behind\n<!-- published: c -->\n")
    beside, rest = rest.split("<!-- end -->\n<!-- results: b -->\n")
    again, after = rest.split("<!-- end -->")
    assert before == PAGE.split("<!-- results")[0] and after == "\nno newline at the end"
    assert table == report(results / "a") and both == summary([results / "a", results / "b"])
    assert again == report(results / "b").removeprefix(TERMS) and table.startswith(TERMS), "explained once"
    assert both.count("\n") == 4 and "| 70.66 |" in beside
    fill(page, results)
    assert page.read_bytes().decode() == text, "renewed, nothing has changed"


@pytest.mark.parametrize(
    "text",
    [
        "nothing",
        "<!-- other: a -->\n<!-- end -->",
        "<!-- results: a -->\nno end",
        "<!-- results: a -->\n<!-- results: b -->\n<!-- end -->",
        "<!-- results: a -->\n<!-- end -->\n<!-- summary: a -->\n",
    ],
)
def test_pages_without_places_or_ends_are_left_as_they_are(results, tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match='page.md" needs a line "<!-- results: FOLDER -->", and "<!-- end -->"'):
        fill(page, results)
    assert page.read_text(encoding="utf-8") == text


def test_a_place_of_a_folder_that_is_not_there(results, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- results: a -->\n<!-- end -->\n<!-- results: d -->\n<!-- end -->", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match='no records .* in ".*d"'):
        fill(page, results)
    assert "| KD |" not in page.read_text(encoding="utf-8")


def test_pictures(tmp_path):
    folder, picture = keep(tmp_path / "r", *pair()), tmp_path / "all.png"
    draw(folder, str(picture))
    assert picture.stat().st_size > 5000
    before = picture.read_bytes()
    draw(keep(folder, bench("resnet8", 100.0)), str(picture))
    assert picture.stat().st_size > 5000 and picture.read_bytes() != before, "the benchmark"


def test_probes_under_two_teachers_are_two_tables_and_none_is_lost(tmp_path):
    def under(teacher, seed, accuracy):
        made = probe("kd", seed, accuracy, 50.0)
        made["config"]["run"] = record("resnet8", seed=seed, method="kd", teacher=("resnet14", teacher))["config"]
        return made

    longer = probe("alone", 0, 33.0, 44.0)
    longer["config"]["run"]["recipe"]["epochs"] = 9
    longer["config"]["seed"] = 9  # a name of its own
    teachers = [probe("teacher", seed, accuracy) | {"final_weights": name} for seed, accuracy, name in
                ((0, 70.0, "a"), (1, 60.0, "b"))]  # fmt: skip
    shared = [probe("random", 0, 26.0), probe("alone", 1, 40.0, 50.0), longer]
    folder = keep(tmp_path / "r", *teachers, *shared, under("a", 2, 45.0), under("a", 3, 47.0), under("b", 4, 42.0))
    tables = [rows(text) for text in report(folder).removeprefix(TERMS).split("\nresnet14 to")]
    first, second, alone = sorted(tables, key=lambda table: "KD" not in table)
    assert sorted([first["KD"][0], second["KD"][0]]) == ["42.00 (1)", "46.00 ± 1.41 (2)"]
    assert sorted([first["teacher"][0], second["teacher"][0]]) == ["60.00 (1)", "70.00 (1)"], "beside their students"
    assert first["student alone"][0] == second["student alone"][0] == "40.00 (1)"
    assert alone["student alone"][0] == "33.00 (1)" and "KD" not in alone
