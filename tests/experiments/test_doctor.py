"""What the doctor measures and counts, on a clock and records of the tests' own."""

import pytest
import torch

from dcd_utils import files, runtime, training
from dcd_utils.experiments import doctor
from dcd_utils.records import make_record, write_record

RECIPE = training.PAPER.but(batch_size=8, precision="fp32")


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but for training: each pass takes the next of `clock.paces` in seconds."""

    class Clock:
        paces, jobs, now = [], [], 100.0

        def train_epoch(self, job, optimizer, epoch):
            self.now += self.paces.pop(0)
            self.jobs.append(job)

    clock = Clock()
    monkeypatch.setattr(doctor, "train_epoch", clock.train_epoch)
    monkeypatch.setattr(doctor.speed, "now", lambda device: clock.now)
    monkeypatch.setenv("DCD_DEVICE", "cpu")
    clock.jobs = []
    return clock


def test_a_rate_is_that_of_all_passes_after_the_warm_up(clock):
    clock.paces = [9.0, 0.5, 1.0, 0.75, 5.0]
    assert doctor.images_per_second("resnet8", 20, RECIPE) == 3 * 8 / 2.25 and clock.paces == [5.0], "2 s or more"
    clock.paces = [9.0, 16.0]
    assert doctor.images_per_second("resnet8", 20, RECIPE) == 0.5, "one pass at least"


def test_what_is_timed_is_what_training_does(clock):
    clock.paces = [1.0, 3.0]
    doctor.images_per_second("resnet8", 100, RECIPE, "resnet14")
    [*_, job] = clock.jobs
    assert set(job.objective.losses) == {"kd", "dcd"} and job.teacher.network.name == "resnet14"
    assert len(job.train) == 8 and job.recipe == RECIPE and job.train.num_classes == 100
    optimizer = doctor.make_optimizer(job)
    assert training.train_epoch(job, optimizer, 0)["dcd"] > 0, "it can be trained"


def record(network, method, speed, epochs=2, train=300, test=30):
    config = {"kind": "train" if method == "alone" else "distill", "network": {"name": network}, "method": method}
    history = [{"epoch": n, "images_per_second": pace} for n, pace in enumerate([speed] * epochs)]
    return make_record(config, {"name": "shapes", "train": train, "test": test}, history=history)


def test_the_time_of_all_runs_follows_from_their_logs():
    epoch = 300 + 30 / 3
    cases = [
        ([record("resnet8", "alone", 1000)], 2 * epoch / 50),
        ([record("resnet8", "alone", 1000), record("resnet8", "at", 250)], 2 * epoch * (1 + 4) / 50),
        ([record("resnet8", "alone", 1000), record("vgg8", "alone", 500, epochs=3)], epoch * (2 + 3 * 2) / 50),
    ]
    for records, expected in cases:
        assert doctor.retraining(records, 50.0, "resnet8") == pytest.approx(expected)


def test_the_report_says_what_is_there_and_what_it_would_take(tmp_path, monkeypatch):
    asked = []

    def images_per_second(network, classes, recipe, teacher=None):
        asked.append((network, classes, teacher))
        return {"resnet8": 100.0}.get(network, 64.0 if teacher else 8.0)

    course = tmp_path / "course"
    monkeypatch.setattr(files, "course_dir", lambda: course)
    monkeypatch.setattr(doctor, "images_per_second", images_per_second)
    monkeypatch.setattr(runtime, "has_apple_gpu", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (files.data_dir() / "stl10_binary").mkdir(parents=True)
    rows = list(doctor.doctor())
    assert len(rows) <= 13 and all(len(text) < 170 for name, text in rows if name != "versions")
    found = dict(rows)
    assert "there: STL-10; absent: CIFAR-100, Tiny ImageNet" in found["downloads"]
    assert found["device"].startswith("cpu: PyTorch finds no GPU") and found["data"] == str(files.data_dir())
    assert found["runs"] == "0 come with the course, 0 of your own" and "--retrain" not in found
    assert found["resnet8"] == "100 images/s in training"
    assert asked[1:] == [("wrn_16_2", 100, "wrn_40_2"), ("wrn_40_2", 100, None)]
    [student, teacher] = [text for name, text in rows if name == "CIFAR-100"]
    assert student.startswith("56 hours for wrn_16_2 as DCD+KD student, 240 epochs (64 images/s)")
    assert teacher.startswith("444 hours for wrn_40_2 as teacher")

    write_record(course / "a" / "result.json", record("resnet8", "alone", 5, epochs=50, train=2000, test=600))
    write_record(files.data_dir() / "runs" / "b" / "result.json", record("resnet8", "alone", 5))
    found = dict(doctor.doctor())
    assert found["runs"] == "1 come with the course, 1 of your own"
    assert found["--retrain"] == "18 minutes for all 1 runs that come with the course, one after another"
