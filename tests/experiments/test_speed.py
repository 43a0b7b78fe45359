"""The benchmark: every way is timed and trains what it should, and its figures follow from each other."""

import pickle

import pytest
import torch

from dcd_utils import models, plots
from dcd_utils.data import ImageSet
from dcd_utils.experiments import report, speed
from dcd_utils.records import read_record, write_record

PAIR = ("resnet14", "resnet8")


@pytest.fixture(scope="module")
def result():
    return speed.benchmark(*PAIR, batch_size=8, steps=2, rounds=1, precision="fp32")


def test_figures_follow_from_each_other(result):
    rates = result["images_per_second"]
    assert set(rates) == set(speed.WAYS) and min(rates.values()) > 0
    for way, rate in rates.items():
        assert rate == pytest.approx(8000 / result["ms_per_step"][way], rel=0.01)
    assert result["speedup"]["cached"] == pytest.approx(rates["cached"] / rates["plain"], rel=0.02)
    assert result["of_student_alone"] == pytest.approx(rates["cached"] / rates["student_alone"], rel=0.02)
    assert set(result["components"]) == {"teacher"} and min(result["components"].values()) > 0
    assert result["kind"] == "benchmark" and result["hardware"] and result["versions"]["torch"]


def test_a_benchmark_is_a_record(result, tmp_path):
    write_record(tmp_path / "b.json", result)
    stored = read_record(tmp_path / "b.json")
    assert stored == result
    text = report(tmp_path)
    assert f"| resnet14 to resnet8 | {result['images_per_second']['plain']:,.0f} |" in text
    assert f"({result['speedup']['cached']:.2f})" in text and "fp32, batch 8, median of 1 rounds" in text


def test_the_plain_way_decodes_and_augments_image_by_image():
    pixels = torch.arange(2 * 3 * 32 * 32).remainder(251).to(torch.uint8).reshape(2, 3, 32, 32)
    images = ImageSet(pixels, torch.tensor([1, 0]), ("a", "b"), (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
    source = speed.PlainImages(images)
    image, label = source[0]
    assert len(source) == 2 and label == 1 and image.shape == (3, 32, 32)
    assert len(pickle.loads(pickle.dumps(source))) == 2, "to a worker process it travels so, but for Linux"
    allowed = {tuple(view) for view in images.batch(torch.zeros(162, dtype=torch.long), torch.arange(162)).numpy()
               .round(4).reshape(162, -1)[:, :64].tolist()}  # fmt: skip
    for _ in range(5):
        assert tuple(source[0][0].numpy().round(4).ravel()[:64].tolist()) in allowed, "one of the 162 views"


def test_students_and_teachers_do_what_their_way_says(monkeypatch):
    bench = speed._Bench(*PAIR, 8, 2, "fp32", torch.device("cpu"))
    answers, in_steps = [], []
    create, train_epoch = models.create, speed.train_epoch

    def watched(name, *rest, **settings):
        network = create(name, *rest, **settings)
        if name == PAIR[0]:
            original = network.features
            monkeypatch.setattr(network, "features", lambda images: answers.append(len(images)) or original(images))
        return network

    def watched_epoch(*arguments):
        before = len(answers)
        result = train_epoch(*arguments)
        in_steps.append(answers[before:])
        return result

    monkeypatch.setattr(models, "create", watched)
    monkeypatch.setattr(speed, "train_epoch", watched_epoch)
    bench.measure("plain")
    assert answers.count(8) == 4, "two steps to warm up, two timed"
    for way, expected in {"live": [[8] * 4, [8] * 2], "cached": [[], []], "student_alone": [[], []]}.items():
        in_steps.clear(), answers.clear()
        seconds, _ = bench.measure(way)
        assert seconds > 0 and in_steps == expected, way
        assert any(size == 8 for size in answers) == (way != "student_alone")


def test_hours_of_a_grid():
    record = {
        "images_per_second": {"plain": 100.0, "cached": 400.0}, "components": {"teacher": 100.0}, "batch_size": 50,
    }  # fmt: skip
    hours = speed.training_hours
    assert hours(record, "plain", images=3600, epochs=100) == pytest.approx(1.0)
    assert hours(record, "plain", images=3600, epochs=100, methods=3, seeds=2) == pytest.approx(6.0)
    filling = 3600 * 162 * (1 - (161 / 162) ** 100) * 0.1 / 50 / 3600
    one, many = (hours(record, "cached", images=3600, epochs=100, methods=n) for n in (1, 10))
    assert one == pytest.approx(0.25 + filling)
    assert many == pytest.approx(2.5 + filling), "methods share one table"
    assert hours(record, "cached", images=3600, epochs=10**5) == pytest.approx(250 + 162 * 0.002), "162 views at most"


@pytest.mark.parametrize(
    "arguments, says",
    [
        ({"batch_size": 1}, "batch_size=1"),
        ({"steps": 0}, "steps=0"),
        ({"rounds": 0}, "rounds=0"),
        ({"teacher": "resnet21"}, "resnet20"),
    ],
)
def test_impossible_settings(arguments, says):
    with pytest.raises(ValueError, match=says):
        speed.benchmark(**{"teacher": "resnet14", "student": "resnet8", **arguments})


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
