"""The mechanism behind the exercises: whatever an answer is or does, `check` says something useful and never raises."""

import numpy as np
import pytest
import torch

from dcd_utils import exercises
from dcd_utils.exercises import Exercise, Mistake
from dcd_utils.exercises.mechanism import judge

SQUARE = Exercise(
    number="99.1",
    asks="squares",
    cases=(((torch.tensor([1.0, -2.0, 3.0]),), torch.tensor([1.0, 4.0, 9.0])), ((torch.ones(2, 2),), torch.ones(2, 2))),
    mistakes=(
        Mistake(lambda x: 2 * x, "This doubles."),
        Mistake(lambda x: (x**2).sum(), "This adds them up."),
    ),
)
NUMBER = Exercise("99.2", "a number", ((((3,)), 9.0),), ())
VALUE = Exercise("99.3", "a value", (((), "resnet8"),), ())
SEVERAL = Exercise("99.4", "two values", (((2,), (4.0, {"a": [1.0, 2.0], "b": "yes"})),), ())


@pytest.mark.parametrize(
    "answer",
    [lambda x: x**2, lambda x: (x**2).numpy(), lambda x: (x**2).tolist(), lambda x: x.double().requires_grad_() ** 2],
)
def test_right_answers_of_any_type_pass(answer):
    result = judge(SQUARE, answer)
    assert result.ok and "correct" in result.message and "99.1" in result.message


def not_implemented(x):
    raise NotImplementedError()


@pytest.mark.parametrize("answer", [None, ..., not_implemented, lambda x: None, lambda x: ...])
def test_an_empty_answer_is_told_so_politely(answer):
    result = judge(SQUARE, answer)
    assert not result.ok and "not answered yet" in result.message and "the function raised" not in result.message


@pytest.mark.parametrize(
    ("answer", "hint"), [(lambda x: x + x, "This doubles."), (lambda x: (x * x).sum(), "This adds them up.")]
)
def test_a_mistake_is_known_by_its_values_and_gets_its_own_hint(answer, hint):
    result = judge(SQUARE, answer)
    assert not result.ok and hint in result.message


def test_a_raising_answer_is_quoted_with_what_was_passed():
    result = judge(SQUARE, lambda x: x.reshape(7))
    assert not result.ok and all(part in result.message for part in ("RuntimeError", "shape (3,)", "-2."))
    assert "TypeError" in judge(SQUARE, lambda: 1).message
    assert "KeyError" in judge(NUMBER, {}.__getitem__).message

    def unsupported(n):
        raise NotImplementedError("not supported on this device")

    assert "not supported on this device" in judge(NUMBER, unsupported).message


@pytest.mark.parametrize(
    ("exercise", "answer", "words"),
    [
        (SQUARE, lambda x: x[:1], "array of shape (1,), and an array of shape (3,)"),
        (SQUARE, lambda x: "nine", "type str"),
        (SQUARE, lambda x: x / 0, "not finite"),
        (SQUARE, lambda x: x, "2 of 3 values are not"),
        (SQUARE, lambda x: {"a": 1}, "type dict"),
        (SQUARE, lambda x: [[1], [2, 3]], "type list"),
        (SQUARE, lambda x: object(), "type object"),
        (NUMBER, lambda n: 9.5, "too large"),
        (NUMBER, lambda n: -9, "too small"),
        (NUMBER, lambda n: [9.0], "a single number is asked for"),
        (NUMBER, lambda n: 1j, "type complex"),
        (SEVERAL, lambda n: (4.0,), "1 values were returned, and 2"),
        (SEVERAL, lambda n: (5.0, {}), "Value 1 of 2"),
        (SEVERAL, lambda n: (4.0, {}), "The keys"),
        (SEVERAL, lambda n: (4.0, {"a": [1.0, 2.0], "b": "no"}), "At the key 'b'"),
        (VALUE, "resnet20", "It gives resnet20"),
    ],
)
def test_other_wrong_answers_are_described_without_the_right_one(exercise, answer, words):
    result = judge(exercise, answer)
    assert not result.ok and words in result.message
    assert not any(right in result.message for right in ("4. 9.", "[1. 4.", "resnet8"))


def test_values_and_several_values_can_be_right():
    assert judge(VALUE, "resnet8").ok and judge(VALUE, lambda: "resnet8").ok
    assert judge(SEVERAL, lambda n: (4, {"a": np.array([1, 2]), "b": "yes"})).ok
    assert "pass the function, uncalled" in judge(SQUARE, torch.zeros(3)).message


def test_an_answer_that_changes_its_input_harms_nobody():
    def greedy(x):
        return x.zero_()

    assert not judge(SQUARE, greedy).ok
    assert judge(SQUARE, lambda x: x.pow_(2)).ok
    assert judge(SQUARE, lambda x: x**2).ok


def test_check_prints_once_and_returns_the_result(capsys):
    result = exercises.check("02.1", None)
    assert capsys.readouterr().out == result.message + "\n"
    assert result.number == "02.1" and not result.ok
    result._ipython_display_()  # how a notebook shows the last value of a cell: nothing is said twice
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("number", ["2.1", "99.9", "", None, 2.1])
def test_an_unknown_number_lists_the_numbers(number):
    with pytest.raises(ValueError, match=r"there is no exercise .*02\.1, 02\.2, 02\.3"):
        exercises.check(number, None)


def test_every_exercise_is_well_made():
    for number, exercise in exercises.registry().items():
        assert exercise.number == number and exercise.asks and exercise.cases
        assert len(exercise.mistakes) >= 2, f"{number} knows fewer than two typical mistakes"
        assert len({mistake.hint for mistake in exercise.mistakes}) == len(exercise.mistakes)
        for mistake in exercise.mistakes:  # a mistake that passes would be called correct
            assert not judge(exercise, mistake.gives).ok
            assert mistake.hint in judge(exercise, mistake.gives).message
