"""The mechanism behind the exercises: whatever an answer is or does, `check` says something useful and never raises."""

import copy

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


EXERCISES = exercises.registry()
numbers = pytest.mark.parametrize("number", EXERCISES)
# what these ask for is the same for the two arguments exchanged, and for each matrix transposed
SYMMETRIC = {"04.2", "05.1", "05.3", "06.3", "07.1"}
TRANSPOSABLE = {"02.1", "02.3", "04.2", "05.1", "05.3"}
MAY_BE_NEGATIVE = {"02.3", "03.1", "05.1", "05.2", "06.2", "08.1"}


def for_values(convert, answer):
    """The same for one value and for a tuple of values."""
    return tuple(map(convert, answer)) if isinstance(answer, tuple) else convert(answer)


def first_value(exercise):
    answer = exercise.answer(*copy.deepcopy(exercise.cases[0]))
    return answer[0] if isinstance(answer, tuple) else answer


def single(value):
    """In float32, whatever it is."""
    if isinstance(value, torch.Tensor):
        return value.float() if value.is_floating_point() else value
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype.kind == "f" else value


@numbers
@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor, lambda value: np.asarray(value).tolist(), single])
def test_a_right_answer_passes_as_array_tensor_list_and_in_single_precision(number, convert):
    exercise = EXERCISES[number]
    assert judge(exercise, lambda *case: for_values(convert, exercise.answer(*case))).ok

    def from_single(*case):
        return exercise.answer(*(single(value) if np.ndim(value) else value for value in case))

    assert judge(exercise, lambda *case: for_values(convert, from_single(*case))).ok


def test_a_difference_of_tensors_passes():
    def paired(a, b):
        difference = torch.tensor(a, dtype=torch.float32) - torch.tensor(b, dtype=torch.float32)
        return difference.mean(), difference.std() / len(difference) ** 0.5

    assert judge(EXERCISES["03.1"], paired).ok
    absolute = judge(EXERCISES["03.1"], lambda a, b: paired(np.maximum(a, b), np.minimum(a, b)))
    assert not absolute.ok and "the difference is negative" in absolute.message


def test_thousands_of_steps_in_single_precision_pass():
    def decayed(steps, learning_rate, weight_decay, momentum):
        t, velocity = torch.tensor(1.0), torch.tensor(0.0)
        for _ in range(steps):
            velocity = momentum * velocity + weight_decay * t
            t = t - learning_rate * velocity
        return t.exp()

    assert judge(EXERCISES["03.2"], decayed).ok


@numbers
def test_cases_tell_signs_factors_and_exchanged_dimensions_apart(number):
    exercise = EXERCISES[number]

    def passes(before=lambda *case: case, after=lambda value, *case: value):
        """Whether the right answer passes if it is called with other arguments, or if its value is changed."""

        def changed(*case):
            return for_values(lambda value: after(np.asarray(value), *case), exercise.answer(*before(*case)))

        return judge(exercise, changed).ok

    assert passes()
    first = exercise.cases[0]
    if isinstance(first_value(exercise), bool):
        assert not passes(after=lambda value, *case: ~value)
    else:
        assert not passes(after=lambda value, *case: -value)
        assert passes(after=lambda value, *case: np.abs(value)) == (number not in MAY_BE_NEGATIVE)
        if np.ndim(first[0]):
            assert not passes(after=lambda value, *case: value * len(case[0]))
            assert not passes(after=lambda value, *case: value / len(case[0]))
        if np.ndim(first_value(exercise)) >= 2:
            assert not passes(after=lambda value, *case: np.swapaxes(value, -1, -2))
    if len(first) > 1 and np.shape(first[0]) and np.shape(first[1]):
        assert passes(before=lambda a, b, *rest: (b, a, *rest)) == (number in SYMMETRIC)
    if any(np.ndim(value) == 2 for value in first):
        transposed = passes(before=lambda *case: [value.T if np.ndim(value) == 2 else value for value in case])
        assert transposed == (number in TRANSPOSABLE)


@numbers
def test_no_constant_passes(number):
    exercise = EXERCISES[number]
    for case in exercise.cases:
        constant = exercise.answer(*copy.deepcopy(case))
        assert not judge(exercise, lambda *_, constant=constant: constant).ok


@numbers
def test_every_exercise_is_well_made(number):
    exercise = EXERCISES[number]
    hints = [hint for _, hint in exercise.mistakes]
    assert len(exercise.cases) >= 2 and len(hints) == len(set(hints)) >= 2
    for mistake, hint in exercise.mistakes:
        assert hint in judge(exercise, mistake).message
        wrong, right = (
            [function(*copy.deepcopy(case)) for case in exercise.cases] for function in (mistake, exercise.answer)
        )
        assert any(farther_than_rounding(*pair) for pair in zip(wrong, right, strict=True)), hint


def farther_than_rounding(wrong, right):
    """Whether two answers differ in shape, or by 1 % of the right value somewhere."""
    if isinstance(right, tuple):
        return any(farther_than_rounding(*pair) for pair in zip(wrong, right, strict=True))
    wrong, right = np.asarray(wrong, dtype=float), np.asarray(right, dtype=float)
    return wrong.shape != right.shape or not np.allclose(wrong, right, rtol=1e-2, atol=1e-3)


def test_the_scale_that_a_contrast_needs_reaches_it():
    answer = EXERCISES["02.2"].answer
    for contrast, size in EXERCISES["02.2"].cases:
        # the best that unit vectors can do: every two of them at the same cosine, -1 / (size - 1)
        cosines = (torch.eye(size, dtype=torch.float64) * size - 1) / (size - 1)
        scores = answer(contrast, size) * cosines
        assert torch.nn.functional.cross_entropy(scores, torch.arange(size)).item() == pytest.approx(contrast)
