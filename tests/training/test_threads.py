"""The number of threads: which one is chosen, when that is found out, and where nothing is chosen at all."""

import itertools

import pytest
import torch
from small import FAST, student

from dcd_utils import losses, training
from dcd_utils.training import loop, threads

CPU = torch.device("cpu")


class Machine:
    """Stands in for a machine of four cores: its clock, its speed with each number of threads, and what was tried.

    A `glitch` is what the next short probe wrongly takes the speed of all threads for.
    """

    def __init__(self):
        self.threads, self.clock, self.probes, self.glitch = 4, 100.0, [], None
        self.free()

    def free(self):
        self.speeds = {1: 10.0, 4: 30.0}

    def busy(self):
        self.speeds = {1: 10.0, 4: 2.0}

    def set_num_threads(self, number):
        self.threads = number

    def speed(self, number, seconds):
        self.probes.append((number, seconds))
        self.threads = number
        if number > 1 and seconds == threads.SHORT and self.glitch:
            glitch, self.glitch = self.glitch, None
            return glitch
        return self.speeds[number]

    def wait(self, seconds=threads.HOLD):
        self.clock += seconds
        threads.settle()
        return self.threads


@pytest.fixture
def machine(monkeypatch):
    machine = Machine()
    monkeypatch.setattr(torch, "get_num_threads", lambda: machine.threads)
    monkeypatch.setattr(torch, "set_num_threads", machine.set_num_threads)
    monkeypatch.setattr(threads, "speed", machine.speed)
    monkeypatch.setattr(threads.time, "monotonic", lambda: machine.clock)
    monkeypatch.setattr(threads, "_here", threads._Here())
    return machine


SHORT, LONG = ([(4, seconds), (1, seconds)] for seconds in (threads.SHORT, threads.LONG))


def test_all_threads_on_free_cores_and_one_beside_a_neighbour(machine):
    with threads.fastest(CPU):
        assert machine.threads == 4
        machine.busy()
        assert machine.wait() == 1
        machine.free()
        assert machine.wait() == 4
        assert machine.probes == 3 * [*SHORT, *LONG]
        assert machine.wait() == 4
        assert machine.probes[12:] == SHORT, "nothing speaks for a change"
    assert machine.threads == 4


def test_a_short_probe_that_is_wrong_changes_nothing(machine):
    with threads.fastest(CPU):
        for change, number, glitch in ((machine.free, 4, 1.0), (machine.busy, 1, 99.0)):
            change()
            assert machine.wait() == number
            machine.glitch = glitch
            assert machine.wait() == number
            assert machine.glitch is None
    machine.busy()
    machine.glitch, threads._here.several, threads._here.until = 99.0, None, 0.0
    with threads.fastest(CPU):
        assert machine.threads == 1, "nor is the first one believed"


@pytest.mark.parametrize("gain", [1.15, 1.25])
def test_all_threads_must_be_clearly_faster(machine, gain):
    machine.speeds = {1: 10.0, 4: gain * 10}
    with threads.fastest(CPU):
        assert machine.threads == (4 if gain > 1.2 else 1)


def test_an_answer_holds_for_seconds_and_beyond_a_run(machine):
    machine.busy()
    for _ in range(3):
        with threads.fastest(CPU):
            assert machine.wait(1.0) == 1
        assert machine.threads == 4, "put back"
    assert machine.probes == [*SHORT, *LONG]
    with threads.fastest(CPU):
        machine.wait()
    assert machine.probes == [*SHORT, *LONG, *SHORT]


def test_cores_are_left_to_those_who_read_images(machine):
    with threads.fastest(CPU):
        for cores, number in ((0.4, 4), (1.2, 3), (2.6, 1), (9.0, 1), (0.0, 4)):
            threads.leave(cores)
            threads.settle()
            assert machine.threads == number
        tried = len(machine.probes)
        threads.leave(3.0)
        assert machine.wait() == 1 and len(machine.probes) == tried, "there is nothing to choose"
    threads.leave(2.0)
    assert machine.wait() == 4, "nothing is chosen outside"
    with threads.fastest(CPU):
        assert machine.threads == 4, "nor does that count inside"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_puts_the_number_back(machine, error):
    machine.busy()
    with pytest.raises(error), threads.fastest(CPU):
        assert machine.threads == 1
        raise error
    assert machine.threads == 4
    probes = len(machine.probes)
    assert machine.wait() == 4 and len(machine.probes) == probes, "nothing is chosen outside"


def test_within_another_choice_both_numbers_stay_open(machine):
    machine.busy()
    with threads.fastest(CPU):
        with threads.fastest(CPU):
            assert machine.threads == 1
            machine.free()
            assert machine.wait() == 4
        assert machine.threads == 1
        threads.settle()
        assert machine.threads == 4
    assert machine.threads == 4


def test_another_number_of_the_caller_counts_from_then_on(machine):
    with threads.fastest(CPU):
        pass
    machine.threads, machine.speeds = 3, {1: 10.0, 3: 25.0}
    with threads.fastest(CPU):
        assert machine.threads == 3 and machine.wait() == 3
    assert machine.threads == 3


def never(*arguments):
    raise AssertionError("must not be called")


@pytest.mark.parametrize("device, number", [("cpu", 1), ("cuda", 4), ("mps", 4)])
def test_where_there_is_nothing_to_choose_nothing_is_touched(machine, monkeypatch, device, number):
    machine.threads = number
    monkeypatch.setattr(torch, "set_num_threads", never)
    monkeypatch.setattr(threads, "speed", never)
    with threads.fastest(torch.device(device)):
        machine.clock += 100
        threads.settle()


def test_the_speed_is_that_of_the_given_number(monkeypatch):
    given, clock = [], itertools.count(0.0, 0.03)
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    monkeypatch.setattr(threads.time, "perf_counter", lambda: next(clock))
    assert threads.speed(3, 0.1) == pytest.approx(4 / 0.12) and given == [3]


# In training


def job(tiny_sets, machine, **changes):
    """A training, and the numbers of threads of its forward passes, each of which takes the machine two seconds.

    An epoch has three steps, the test one pass.
    """
    model, used = student(), []
    features = model.features

    def timed(images):
        used.append(machine.threads)
        machine.clock += 2.0
        return features(images)

    model.features = timed
    parts = {"model": model, "objective": losses.Objective(), "teacher": training.NoTeacher(), "seed": 0}
    return training.Job(**parts, train=tiny_sets[0], recipe=FAST, **{"test": tiny_sets[1], **changes}), used


def test_training_takes_up_a_change_between_two_steps(tiny_sets, machine):
    trained, used = job(tiny_sets, machine)
    loop.fit(trained, keep=lambda state: machine.busy())
    assert used == [4, 4, 4, 4] + [4, 4, 1, 1], "twice three steps and a test; after 100, 106 and 112 seconds, a probe"
    assert machine.probes == [*SHORT, *LONG] + SHORT + [*SHORT, *LONG] and machine.threads == 4


def test_with_one_thread_training_probes_nothing(tiny_sets, machine, monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", never)
    monkeypatch.setattr(threads, "speed", never)
    machine.threads = 1
    trained, used = job(tiny_sets, machine)
    loop.fit(trained)
    assert used == 8 * [1]


def test_evaluation_chooses_between_its_batches(tiny_sets, machine):
    trained, used = job(tiny_sets, machine)
    machine.busy()
    training.evaluate(trained.model, tiny_sets[1], batch_size=5)
    assert used == 4 * [1] and machine.probes == [*SHORT, *LONG, *SHORT] and machine.threads == 4


def test_filling_the_table_of_answers_chooses_between_its_batches(tiny_sets, machine, monkeypatch):
    trained, used = job(tiny_sets, machine)
    stored = training.StoredTeacher(trained.model, tiny_sets[0], "fp32", 16, cache="memory")
    used.clear()
    with threads.fastest(CPU):
        machine.busy()
        machine.clock += 4.0
        stored.prepare(*loop.draw(40, 0, 0))
    assert used == [4, 1, 1]
