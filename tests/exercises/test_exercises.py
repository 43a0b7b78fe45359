"""The mechanism behind the exercises: whatever an answer is or does, `check` says something useful and never raises."""

import sys

import numpy as np
import pytest
import torch

from dcd_utils import exercises
from dcd_utils.exercises import Exercise
from dcd_utils.exercises.mechanism import judge

TENSORS = [(torch.tensor([1.0, -2.0, 3.0]),), (torch.ones(2, 2),)]
SQUARE = Exercise("99.1 Squares", TENSORS).answers(
    lambda x: x**2, lambda x: 2 * x, "This doubles.", lambda x: (x**2).sum(), "This adds them up.",
)
NUMBER = Exercise("99.2 A number", [(3,)]).answers(lambda n: 9.0)
PARTS = Exercise("99.3 Two values", [(2,)]).answers(lambda n: (4.0, np.array([1.0, 2.0, 3.0])))
EVEN = Exercise("99.4 Even?", [(2,), (3,)]).answers(lambda n: n % 2 == 0)


@pytest.mark.parametrize(
    "answer",
    [lambda x: x**2, lambda x: (x**2).numpy(), lambda x: (x**2).tolist(), lambda x: x.double().requires_grad_() ** 2],
)
def test_right_answers_of_any_type_pass(answer):
    result = judge(SQUARE, answer)
    assert result.ok and "correct" in result.message and "Exercise 99.1 Squares" in result.message


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
        (SQUARE, lambda x: "nine", "type str"), (SQUARE, lambda x: x / 0, "not finite"),
        (SQUARE, lambda x: x, "2 of 3 values are not"), (SQUARE, lambda x: {"a": 1}, "type dict"),
        (SQUARE, lambda x: [[1], [2, 3]], "type list"), (SQUARE, lambda x: object(), "type object"),
        (NUMBER, lambda n: 9.5, "too large"), (NUMBER, lambda n: -9, "too small"),
        (NUMBER, lambda n: [9.0], "a single number is asked for"), (NUMBER, lambda n: 1j, "type complex"),
        (NUMBER, lambda n: True, "It returned True or False, and a single number is asked for"),
        (NUMBER, lambda n: np.array(["nine"]), "type ndarray"), (NUMBER, lambda n: (9.0, [1.0, 2.0]), "type list"),
        (PARTS, lambda n: 4.0, "values is 1, and 2"), (PARTS, lambda n: {"a": 4.0}, "values is 1, and 2"),
        (PARTS, lambda n: (5.0, None), "Value 1 of 2"),
        (PARTS, lambda n: (4.0, np.ones(2)), "Value 2 of 2: It returned an array of shape (2,)"),
        (EVEN, lambda n: 1, "It returned a single number, and True or False is asked for"),
        (EVEN, lambda n: "True", "type str, and True or False"),
        (EVEN, lambda n: True, "It says True where it should not"),
    ],
)
def test_other_wrong_answers_are_described_without_the_right_one(exercise, answer, words):
    result = judge(exercise, answer)
    assert not result.ok and words in result.message
    assert not any(right in result.message for right in ("4. 9.", "[1. 4.", "[1. 2. 3.]"))


def test_several_values_may_come_in_any_container():
    assert judge(PARTS, lambda n: (4, [1, 2, 3])).ok
    assert judge(PARTS, lambda n: [torch.tensor(4.0), torch.tensor([1, 2, 3])]).ok
    assert "not a Tensor: pass the function uncalled" in judge(SQUARE, torch.zeros(3)).message


class Hostile:
    def __array__(self, *arguments, **options):
        raise RuntimeError("no array")

    def detach(self):
        raise RuntimeError("no tensor")


ENDLESS: list = []
ENDLESS.append(ENDLESS)
ODD = [
    Hostile(), ENDLESS, {}, set(), b"x", [], (), [1, [2]], (None, None), np.array([None]), float("nan"), 10**400,
    object(),
]
ODD += [torch.ones(2, device="meta"), torch.ones(2).to_sparse(), torch.tensor(1j), range(2), iter([1, 2]), len, type]


@pytest.mark.parametrize("exercise", [SQUARE, NUMBER, PARTS, EVEN], ids=lambda exercise: exercise.title)
@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_no_value_raises(exercise, value):
    for answer in (value, lambda *case: value, lambda *case: (value, value)):
        result = judge(exercise, answer)
        assert not result.ok and result.message.startswith("Exercise 99.")


def test_an_answer_that_changes_its_input_harms_nobody():
    def greedy(x):
        return x.zero_()

    assert not judge(SQUARE, greedy).ok
    assert judge(SQUARE, lambda x: x.pow_(2)).ok
    assert judge(SQUARE, lambda x: x**2).ok


def test_an_answer_that_returns_the_same_memory_each_time_is_judged_by_what_it_held():
    kept, moved = np.zeros(2), torch.zeros(2)

    def same_array(x):
        kept[:] = x.numpy() ** 2
        return kept

    def same_tensor(x):
        return moved.copy_(x).mul_(x)

    squares = Exercise("99.5 Squares", [(torch.tensor([1.0, 2.0]),), (torch.tensor([3.0, -4.0]),)]).answers(
        lambda x: x**2
    )
    assert judge(squares, same_array).ok and judge(squares, same_tensor).ok


def test_an_answer_that_ends_the_program_does_not():
    assert "raised SystemExit" in judge(NUMBER, lambda n: sys.exit(1)).message


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        (NUMBER, lambda n: 9.02), (SQUARE, lambda x: x**2 + 0.005),
        (PARTS, lambda n: (torch.tensor(4.02).bfloat16(), [1, 2, 3])),
    ],
)
def test_what_is_right_but_for_its_last_digits_is_told_so(exercise, answer):
    result = judge(exercise, answer)
    assert not result.ok and "Right to 1 %, but not to 0.01 %. Was something rounded" in result.message
    assert "too large" not in result.message


def test_check_prints_once_and_returns_the_result(capsys):
    result = exercises.check("02.1", None)
    assert capsys.readouterr().out == result.message + "\n"
    assert not result.ok and "02.1" in result.message
    result._ipython_display_()  # how a notebook shows the last value of a cell: nothing is said twice
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("number", ["2.1", "99.9", "", None, 2.1])
def test_an_unknown_number_lists_the_numbers(number):
    with pytest.raises(ValueError, match=r"there is no exercise .*02\.1, 02\.2, 02\.3"):
        exercises.check(number, None)
