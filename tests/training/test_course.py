from functools import partial

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


def test_what_another_process_trains_is_put_off_and_loaded_at_the_end():
    asked, busy = [], {"a": 2, "c": 99}

    def job(name, wait):
        asked.append((name, wait))
        if not wait and busy.get(name, 0):
            busy[name] -= 1
            raise training.RunBusy
        return name

    names = ("a", "b", "c", "d")
    found = course._all_of({name: partial(job, name) for name in names})
    assert found == {name: name for name in names}
    # the other process is at a, so it comes from the front, and this one goes on from the end
    tries = [[("a", False), ("d", False), ("c", False), ("b", False)]]  # gets d and b
    tries += [[("a", False), ("c", False)], [("c", True), ("a", False)]]
    assert asked == [pair for some in tries for pair in some]


def test_a_busy_teacher_does_not_keep_the_students_alone_from_training(tiny_sets, monkeypatch):
    order = []

    def watched(function):
        def call(network, *rest, wait, **settings):
            if network.name == "resnet14" and not wait and len(order) < 3:
                order.append("busy")
                raise training.RunBusy
            run = function(network, *rest, wait=wait, **settings)
            order.append(f"{run.config['network']} {run.config['method']} {run.config['seed']}")
            return run

        return call

    monkeypatch.setattr(course, "learn", watched(course.learn))
    monkeypatch.setattr(course, "distill", watched(course.distill))
    teacher, students = training.course_runs(SMALL, ("kd", "alone"), *tiny_sets)
    alone = ["resnet8 alone 3", "resnet8 alone 4"]
    assert order == ["busy", *alone, "resnet14 alone 7", "resnet8 kd 4", "resnet8 kd 3"]
    assert list(students) == [("kd", 3), ("alone", 3), ("kd", 4), ("alone", 4)] and len(teacher.rows) == 2
