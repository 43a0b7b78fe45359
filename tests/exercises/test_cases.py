"""The cases of the exercises: they accept every type of a right answer, and tell it from wrong ones."""

import copy

import numpy as np
import pytest
import torch

from dcd_utils import exercises
from dcd_utils.exercises.mechanism import judge

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


def trained(value):
    """As a tensor that a gradient flows through."""
    tensor = torch.as_tensor(value)
    return tensor.requires_grad_() * 1 if tensor.is_floating_point() else tensor


def tensors_in_a_list(value):
    return [torch.as_tensor(row) for row in np.asarray(value)] if np.ndim(value) else torch.as_tensor(value)


class OnDevice:
    """A tensor of a device whose memory NumPy cannot reach."""

    def __init__(self, value):
        self.value = torch.as_tensor(value)

    def __array__(self, *arguments, **options):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def detach(self):
        return self

    def cpu(self):
        return self.value


CONVERSIONS = [
    np.asarray, torch.as_tensor, lambda value: np.asarray(value).tolist(), single, lambda value: np.asarray(value)[()],
    trained, tensors_in_a_list, OnDevice,
]


@numbers
@pytest.mark.parametrize("convert", CONVERSIONS)
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
