"""What the doctor measures and counts, on a clock and records of the tests' own."""

import pytest
import torch

from dcd_utils import files, runtime, training
from dcd_utils.experiments import doctor
from dcd_utils.records import make_record, write_record

RECIPE = training.PAPER.but(batch_size=8, precision="fp32")


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but for training: a pass takes the next of `clock.paces`, seconds for each image."""

    class Clock:
        paces, now = [], 0.0

        def train_epoch(self, job, optimizer, epoch):
            self.now += len(job.train) * self.paces.pop(0)
            self.jobs.append((job, torch.get_num_threads()))

    clock = Clock()
    monkeypatch.setattr(doctor, "train_epoch", clock.train_epoch)
    monkeypatch.setattr(doctor, "now", lambda device: clock.now)
    monkeypatch.setattr(torch, "get_num_threads", lambda: clock.threads)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: setattr(clock, "threads", number))
    monkeypatch.setenv("DCD_DEVICE", "cpu")
    clock.threads, clock.jobs = 3, []
    return clock


def test_a_rate_is_the_median_after_the_warm_up(clock):
    clock.paces = [9.0, 3.0, 5.0, 1.0, 2.0, 4.0, 1.0]
    assert doctor.measure("resnet8", 20, RECIPE, 120.0, threads=[1]) == {1: 1 / 2}, "the median of 1, 2 and 4 seconds"
    assert clock.now == 8 * (9 + 3 + 5 + 1 + 2 + 4), "another of eight times four seconds does not fit into 120"


def test_what_is_slow_is_timed_on_fewer_images_and_each_number_of_threads_for_itself(clock):
    clock.paces = [3.0, 1.0, 2.0, 1.0, 3.0, 2.0, 7.0, 4.0]
    assert doctor.measure("resnet8", 20, RECIPE.but(batch_size=64), 24.0) == {1: 1.0, 3: 0.25}
    assert [threads for _, threads in clock.jobs] == [1] * 4 + [3] * 4 and clock.threads == 3, "and then as it was"
    assert [len(job.train) for job, _ in clock.jobs] == [8, 8, 12, 12] + [8] * 4


def test_what_is_hopelessly_slow_is_not_waited_for(clock):
    clock.paces = [2.0, 4.0, 8.0]
    assert doctor.measure("resnet8", 20, RECIPE, 24.0) == {1: 0.25, 3: 0.125}
    assert [threads for _, threads in clock.jobs] == [1, 1, 3]


def test_what_is_timed_is_what_training_does(clock):
    clock.paces = [1.0]
    doctor.measure("resnet8", 100, RECIPE, 0.0, "resnet14", [1])
    [*_, (job, _)] = clock.jobs
    assert set(job.objective.losses) == {"kd", "dcd"} and job.teacher.network.name == "resnet14"
    assert len(job.train) == 8 and job.recipe == RECIPE and job.train.num_classes == 100
    optimizer = doctor.make_optimizer(job)
    assert training.train_epoch(job, optimizer, 0)["dcd"] > 0, "it can be trained"


def record(network, method, speed, epochs=2, train=300, test=30):
    config = {"kind": "train" if method == "alone" else "distill", "network": {"name": network}, "method": method}
    history = [{"epoch": n, "images_per_second": pace} for n, pace in enumerate([speed] * epochs)]
    return make_record(config, {"name": "shapes", "train": train, "test": test}, history=history)


def test_the_time_of_all_runs_follows_from_their_logs():
    rates, epoch = {"resnet8": 50.0, "resnet20": 20.0}, 300 + 30 / 3
    cases = [
        ([record("resnet8", "alone", 1000)], 2 * epoch / 50),
        ([record("resnet20", "alone", 123)], 2 * epoch / 20),
        ([record("resnet8", "alone", 1000), record("resnet8", "at", 250)], 2 * epoch * (1 + 4) / 50),
        ([record("resnet8", "alone", 1000), record("vgg8", "alone", 500, epochs=3)], epoch * (2 + 3 * 2) / 50),
        ([record("resnet8", "dcd", 700)], 2 * epoch / 50),
    ]
    for records, expected in cases:
        assert doctor.retraining(records, rates, "resnet8") == pytest.approx(expected)


def test_the_report_says_what_is_there_and_what_it_would_take(tmp_path, monkeypatch):
    asked = []

    def measure(network, classes, recipe, seconds, teacher=None, threads=None):
        asked.append((network, classes, teacher, threads))
        paces = {"resnet8": {1: 100.0, 2: 60.0}, "resnet20": {1: 10.0, 2: 20.0}}
        return paces.get(network, {2: 64.0 if teacher else 8.0})

    course = tmp_path / "course"
    monkeypatch.setattr(files, "course_dir", lambda: course)
    monkeypatch.setattr(doctor, "measure", measure)
    monkeypatch.setattr(runtime, "has_apple_gpu", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (files.data_dir() / "stl10_binary").mkdir(parents=True)
    rows = list(doctor.doctor())
    assert len(rows) <= 13 and all(len(text) < 170 for name, text in rows if name != "versions")
    found = dict(rows)
    assert "there: STL-10; absent: CIFAR-100, Tiny ImageNet" in found["downloads"]
    assert found["device"].startswith("cpu: PyTorch finds no GPU") and found["data"] == str(files.data_dir())
    assert found["runs"] == "0 come with the course, 0 of your own"
    assert found["resnet20"] == "images/s in training: 10 with one thread, 20 with 2 threads"
    assert found["--retrain"].endswith("for the quick profile's runs (none comes with the course), one after another")
    assert asked[2:] == [("wrn_16_2", 100, "wrn_40_2", (2,)), ("wrn_40_2", 100, None, (2,))], "by the faster number"
    [student, teacher] = [text for name, text in rows if name == "CIFAR-100"]
    assert student.startswith("56 hours for wrn_16_2 as DCD+KD student, 240 epochs (64 images/s)")
    assert teacher.startswith("444 hours for wrn_40_2 as teacher")

    write_record(course / "a" / "result.json", record("resnet20", "alone", 5, epochs=10, train=2000, test=600))
    write_record(files.data_dir() / "runs" / "b" / "result.json", record("resnet8", "alone", 5))
    found = dict(doctor.doctor())
    assert found["runs"] == "1 come with the course, 1 of your own"
    assert found["--retrain"] == "18 minutes for all 1 runs that come with the course, one after another"


def test_the_quick_runs_are_a_teacher_and_four_students_for_each_seed():
    quick = doctor.profile("quick")
    train, test = (doctor.inspect.signature(doctor.shapes.load).parameters[f"{part}_size"].default
                   for part in ("train", "test"))  # fmt: skip
    passes = quick.teacher_recipe.epochs / 5 + 4 * len(quick.seeds) * quick.recipe.epochs / 20
    assert doctor.quick_runs({"resnet20": 5.0, "resnet8": 20.0}) == pytest.approx((train + test / 3) * passes)
