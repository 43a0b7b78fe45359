"""The benchmark: every way is timed and trains what it should, and its figures follow from each other."""

import json

import numpy as np
import pytest
import torch

from dcd_utils import models, plots
from dcd_utils.__main__ import main
from dcd_utils.data import ImageSet
from dcd_utils.training import benchmark

PAIR = ("resnet14", "resnet8")


@pytest.fixture(scope="module")
def result():
    return benchmark.benchmark(*PAIR, batch_size=8, steps=2, rounds=1, precision="fp32", batch_sizes=(4,))


def test_figures_follow_from_each_other(result):
    rates = result["images_per_second"]
    assert set(rates) == set(benchmark.MODES) and min(rates.values()) > 0
    for mode, rate in rates.items():
        assert rate == pytest.approx(8000 / result["ms_per_step"][mode], rel=0.01)
    assert result["speedup"]["cached"] == pytest.approx(rates["cached"] / rates["plain"], rel=0.02)
    assert result["of_student_alone"] == pytest.approx(rates["cached"] / rates["student_alone"], rel=0.02)
    assert set(result["by_batch_size"]) == {"4"}
    assert json.loads(json.dumps(result)) == result and result["hardware"] and result["versions"]["torch"]


def test_the_floor_counts_the_multiply_accumulates_of_a_step(result):
    floor = result["floor"]
    # of resnet8 with 100 classes at 32x32: 12.5 million a pass; a backward pass has two, but for the images' gradient
    stem = 3 * 16 * 9 * 32 * 32 / 1e6
    forward = floor["student_mmacs"] / 8
    assert forward == pytest.approx(3 * 12.51 - stem, rel=0.01)
    assert floor["ms_live"] > floor["ms_cached"] > 0 and floor["share_cached"] > 0


def test_the_plain_way_decodes_and_augments_image_by_image():
    pixels = torch.arange(2 * 3 * 32 * 32).remainder(251).to(torch.uint8).reshape(2, 3, 32, 32)
    images = ImageSet(pixels, torch.tensor([1, 0]), ("a", "b"), (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
    source = benchmark.PlainImages(images)
    image, label = source[0]
    assert len(source) == 2 and label == 1 and image.shape == (3, 32, 32)
    allowed = {tuple(view) for view in images.batch(torch.zeros(162, dtype=torch.long), torch.arange(162)).numpy()
               .round(4).reshape(162, -1)[:, :64].tolist()}  # fmt: skip
    for _ in range(5):
        assert tuple(source[0][0].numpy().round(4).ravel()[:64].tolist()) in allowed, "one of the 162 views"


def test_students_and_teachers_do_what_their_way_says(monkeypatch):
    bench = benchmark._Bench(*PAIR, 8, 2, "fp32", torch.device("cpu"))
    answers = []
    create = models.create

    def watched(name, *rest, **settings):
        network = create(name, *rest, **settings)
        if name == PAIR[0]:
            original = network.features
            monkeypatch.setattr(network, "features", lambda images: answers.append(len(images)) or original(images))
        return network

    monkeypatch.setattr(models, "create", watched)
    counts = {}
    for mode in benchmark.MODES:
        answers.clear()
        seconds, _ = bench.measure(mode)
        assert seconds > 0
        counts[mode] = sum(size == 8 for size in answers)
    assert counts["plain"] == 4, "two steps to warm up, two timed"
    assert counts["live"] == 4
    assert counts["cached"] == 3, "one to learn widths, two to fill the table; none in the steps"
    assert counts["student_alone"] == 0


def test_hours_of_a_grid():
    result = {
        "images_per_second": {"plain": 100.0, "cached": 400.0},
        "components": {"teacher": 100.0},
        "batch_size": 50,
    }
    hours = benchmark.hours
    assert hours(result, "plain", images=3600, epochs=100) == pytest.approx(1.0)
    assert hours(result, "plain", images=3600, epochs=100, methods=3, seeds=2) == pytest.approx(6.0)
    warm = hours(result, "cached", images=3600, epochs=100, fill=False)
    assert warm == pytest.approx(0.25)
    one, many = (hours(result, "cached", images=3600, epochs=100, methods=n) for n in (1, 10))
    filling = one - warm
    assert many == pytest.approx(10 * warm + filling), "methods share one table"
    assert filling == pytest.approx(3600 * 162 * (1 - (161 / 162) ** 100) * 0.1 / 50 / 3600)
    assert hours(result, "cached", images=3600, epochs=10**5) - hours(
        result, "cached", images=3600, epochs=10**5, fill=False
    ) == pytest.approx(162 * 0.002), "never more than 162 views an image"


def test_growth_moves_one_dimension_at_a_time(result):
    panels = benchmark.growth(result, images=1000, epochs=40, methods=3, seeds=2)
    assert list(panels) == ["images", "epochs", "methods", "seeds", "batch size"]
    for name, at in {"images": 1000, "epochs": 40, "methods": 3, "seeds": 2}.items():
        assert panels[name]["at"] == at
        for way in ("plain", "live", "cached"):
            x, y = panels[name][way]
            assert x[0] > 0 and x[-1] >= 2 * at and list(y) == sorted(y)
            here = benchmark.hours(result, way, 1000, 40, 3, 2)
            assert np.interp(at, x, y) == pytest.approx(here, rel=0.01)
    x, y = panels["methods"]["cached"]
    assert y[-1] / y[0] < x[-1] / x[0], "the teacher is paid once"
    rates = [result["by_batch_size"]["4"]["live"], result["images_per_second"]["live"]]
    assert panels["batch size"]["live"] == ([4, 8], rates)
    assert "batch size" not in benchmark.growth({**result, "by_batch_size": {}})


def test_from_the_command_line(tmp_path, capsys):
    arguments = ["benchmark", "--teacher", "resnet14", "--student", "resnet8", "--steps", "1", "--rounds", "1"]
    arguments += ["--batch-size", "4", "--precision", "fp32"]
    assert main([*arguments, "--json", str(tmp_path / "b.json"), "--plot", str(tmp_path / "b.png")]) == 0
    table = capsys.readouterr().out
    stored = json.loads((tmp_path / "b.json").read_text())
    assert f"| {stored['images_per_second']['plain']:,.0f} |" in table
    assert "resnet14 to resnet8, DCD+KD, batch 4" in table
    assert (tmp_path / "b.png").stat().st_size > 5000


def test_a_folder_of_results_becomes_a_table_and_a_picture(result, tmp_path, capsys):
    folder, page = tmp_path / "benchmark", tmp_path / "page.md"
    folder.mkdir()
    quick = {**result, "student": "quick", "images_per_second": {**result["images_per_second"], "plain": 1e6}}
    for name, each in {"a": result, "b": quick}.items():
        (folder / f"{name}.json").write_text(json.dumps(each))
    page.write_text("<!-- results: benchmark -->\n<!-- end -->\nrest")
    pictures = [tmp_path / "b.png", tmp_path / "cost.png"]
    command = ["report", str(folder), "--into", str(page), "--plot", str(pictures[0]), "--cost", str(pictures[1])]
    assert main(command) == 0
    table = page.read_text()
    assert table.index("to quick") < table.index("to resnet8") and "| 1,000,000 |" in table and table.endswith("rest")
    assert f"({result['speedup']['cached']:.2f})" in table and result["hardware"] in table
    assert min(picture.stat().st_size for picture in pictures) > 5000
    assert main(["report", str(folder), "--published"]) == 1
    assert "none are published" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, says",
    [
        ({"batch_size": 1}, "batch sizes (1,)"),
        ({"steps": 0}, "steps=0"),
        ({"rounds": 0}, "rounds=0"),
        ({"batch_size": 8, "batch_sizes": (1,)}, "batch sizes (8, 1)"),
        ({"teacher": "resnet21"}, "resnet20"),
    ],
)
def test_impossible_settings(arguments, says):
    with pytest.raises(ValueError, match=says.replace("(", r"\(").replace(")", r"\)")):
        benchmark.benchmark(**{"teacher": "resnet14", "student": "resnet8", **arguments})


def test_the_picture_shows_the_figures(result):
    figure = plots.speed([result, {**result, "student": "other"}])
    ax = figure.axes[0]
    widths = sorted(bar.get_width() for bar in ax.patches)
    assert widths == pytest.approx(sorted(2 * list(result["images_per_second"].values())))
    texts = " ".join(text.get_text() for text in ax.texts)
    assert f"({result['images_per_second']['live'] / result['images_per_second']['plain']:.1f} x)" in texts
    assert [label.get_text() for label in ax.get_yticklabels()] == ["resnet14\nto resnet8", "resnet14\nto other"]
    with pytest.raises(ValueError, match="no result"):
        plots.speed([])


def test_the_picture_of_cost():
    x = np.array([1, 2, 4])
    panel = {"plain": (x, 2 * x), "cached": (x, x), "at": 2}
    figure = plots.cost({"epochs": panel, "batch size": {"live": (x, x), "label": "images/s"}}, "Cost")
    first, second = figure.axes
    assert [line.get_ydata().tolist() for line in first.lines[:2]] == [[2, 4, 8], [1, 2, 4]]
    assert first.get_xlabel() == "epochs" and first.get_ylabel() == "hours" and second.get_ylabel() == "images/s"
    assert len(figure.legends[0].texts) == 3
    short = plots.cost({"epochs": {"live": (x, x / 4)}, "batch size": {"live": (x, x), "label": "images/s"}}, "Cost")
    assert short.axes[0].get_ylabel() == "minutes" and short.axes[0].lines[0].get_ydata().tolist() == [15, 30, 60]
    assert short.axes[1].lines[0].get_ydata().tolist() == [1, 2, 4], "not a time"
    with pytest.raises(ValueError, match="no panel"):
        plots.cost({}, "Cost")
