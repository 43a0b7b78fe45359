import pytest

from dcd_utils import training
from dcd_utils.training import api, course

FAST = training.Recipe(epochs=1, batch_size=16, schedule="one_cycle", milestones=(), precision="fp32")
SMALL = training.Profile("small", "shapes", None, "resnet14", "resnet8", FAST.but(epochs=2), FAST, 7, (3, 4), 50)


def test_one_teacher_and_a_student_for_every_method_and_seed(tiny_sets, monkeypatch):
    teacher, students = training.course_runs(SMALL, ("alone", "dcd+kd"), *tiny_sets)
    assert len(teacher.rows) == 2 and teacher.config["seed"] == 7 and teacher.config["network"] == "resnet14"
    assert list(students) == [("alone", 3), ("dcd+kd", 3), ("alone", 4), ("dcd+kd", 4)]
    starts = {key: run.config["initial_weights"] for key, run in students.items()}
    assert starts["alone", 3] == starts["dcd+kd", 3] != starts["alone", 4]
    monkeypatch.setattr(api, "fit", lambda *_: pytest.fail("trained again"))
    _, again = training.course_runs(SMALL, ("alone", "dcd+kd"), *tiny_sets)
    assert again["dcd+kd", 4].rows == students["dcd+kd", 4].rows


def test_bad_calls_fail_before_the_teacher_is_trained(tiny_sets, monkeypatch):
    monkeypatch.setattr(course, "learn", lambda *_: pytest.fail("trained"))
    with pytest.raises(ValueError, match="kd, fitnet.*dcd"):
        training.course_runs(SMALL, ("alone", "dcdd"), *tiny_sets)
    with pytest.raises(ValueError, match="only one of train and test"):
        training.course_runs(SMALL, train=tiny_sets[0])
