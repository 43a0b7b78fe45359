"""What an exercise is, and how an answer to one is judged."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Mistake:
    """A typical wrong answer. It is recognised by its values, so it may be written in any way.

    Args:
        gives: called with a case's arguments, returns what an answer with this mistake would return.
        hint: what to look at again; it must not contain the answer.
    """

    gives: Callable[..., Any]
    hint: str


@dataclass(frozen=True)
class Exercise:
    """A question with cases that an answer must get right.

    Args:
        number: notebook and position, for instance "02.1".
        asks: what is asked, in a few words; it completes "Exercise 02.1 (...)".
        cases: pairs (arguments, expected). Arguments are a tuple, and expected is a number, text, an array or tensor,
            or a tuple, list or dict of those. With empty arguments an answer may be the value itself.
        mistakes: typical wrong answers, the more specific first.
        tolerance: absolute and relative, for numbers.
    """

    number: str
    asks: str
    cases: tuple[tuple[tuple, Any], ...]
    mistakes: tuple[Mistake, ...]
    tolerance: float = 1e-6


@dataclass(frozen=True)
class Result:
    """Whether an answer is right, and what was said about it."""

    number: str
    ok: bool
    message: str

    def _ipython_display_(self):
        # `check` has printed the message: as the last line of a cell it must not appear a second time
        pass


def judge(exercise: Exercise, answer: Any) -> Result:
    """Call `answer` on every case and compare; see `check`."""

    def result(ok: bool, text: str) -> Result:
        return Result(exercise.number, ok, f"Exercise {exercise.number} ({exercise.asks}): {text}")

    if answer is None or answer is Ellipsis:
        return result(False, "not answered yet. Fill in the function above, then run this cell again.")
    if not callable(answer):
        if any(arguments for arguments, _ in exercise.cases):
            passed = _kind(_plain(answer))
            return result(False, f"a function is asked for, and {passed} was passed: pass the function, uncalled.")
        value = answer
        answer = lambda: value  # noqa: E731

    returned = []
    for arguments, _ in exercise.cases:
        try:
            returned.append(_plain(answer(*copy.deepcopy(arguments))))
        except Exception as error:
            if isinstance(error, NotImplementedError) and not str(error):
                hint = "Put your code where `raise NotImplementedError()` stands, then run again."
                return result(False, f"not answered yet. {hint}")
            return result(False, f"the function raised {type(error).__name__}: {error}{_called(arguments)}")
        if returned[-1] is None or returned[-1] is Ellipsis:
            return result(False, "not answered yet: the function returned nothing. Is its `return` missing?")

    expected = [_plain(value) for _, value in exercise.cases]
    if all(_equal(a, b, exercise.tolerance) for a, b in zip(returned, expected, strict=True)):
        return result(True, "correct.")
    for mistake in exercise.mistakes:
        wrong = [_plain(mistake.gives(*copy.deepcopy(arguments))) for arguments, _ in exercise.cases]
        if all(_equal(a, b, exercise.tolerance) for a, b in zip(returned, wrong, strict=True)):
            return result(False, f"not right yet. {mistake.hint}")
    for (arguments, _), given, wanted in zip(exercise.cases, returned, expected, strict=True):
        if not _equal(given, wanted, exercise.tolerance):
            return result(False, f"not right yet. {_difference(given, wanted, exercise.tolerance)}{_called(arguments)}")
    raise AssertionError("unreachable: some case differs")


def _called(arguments: tuple) -> str:
    """What was passed, as the last lines of a message."""
    return "\nIt was called with " + ", ".join(_brief(value) for value in arguments) if arguments else ""


def _brief(value: Any) -> str:
    plain = _plain(value)
    if isinstance(plain, np.ndarray) and plain.ndim:
        text = f"an array of shape {plain.shape}"
        return text if plain.size > 16 else f"{text}:\n{np.array2string(plain, precision=3, suppress_small=True)}"
    text = f"{plain:.6g}" if isinstance(plain, np.ndarray) and plain.dtype.kind == "f" else str(plain)
    return text if len(text) <= 120 else text[:117] + "..."


def _plain(value: Any) -> Any:
    """Tensors, numbers and lists of numbers as NumPy arrays (a number has shape ()); tuples, dicts, lists by parts."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        return value.double().numpy() if value.is_floating_point() else value.numpy()
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_plain(part) for part in value)
    try:
        array = np.asarray(value)
    except Exception:  # rows of unequal length, or an object that NumPy refuses
        return [_plain(part) for part in value] if isinstance(value, list) else value
    if array.dtype.kind in "biuf":
        return array
    value = value.tolist() if isinstance(value, np.ndarray) else value
    return [_plain(part) for part in value] if isinstance(value, list) else value


def _equal(given: Any, wanted: Any, tolerance: float) -> bool:
    if isinstance(wanted, dict):
        return (
            isinstance(given, dict)
            and given.keys() == wanted.keys()
            and all(_equal(given[key], wanted[key], tolerance) for key in wanted)
        )
    if isinstance(wanted, (tuple, list)):
        return (
            type(given) is type(wanted)
            and len(given) == len(wanted)
            and all(_equal(a, b, tolerance) for a, b in zip(given, wanted, strict=True))
        )
    if isinstance(wanted, np.ndarray):
        return (
            isinstance(given, np.ndarray)
            and given.shape == wanted.shape
            and np.allclose(given, wanted, rtol=tolerance, atol=tolerance)
        )
    return type(given) is type(wanted) and given == wanted


def _difference(given: Any, wanted: Any, tolerance: float) -> str:
    """Where an unrecognised answer differs, in words that do not contain the right values."""
    if isinstance(wanted, dict) and isinstance(given, dict):
        if given.keys() != wanted.keys():
            return f"The keys {sorted(map(str, given))} were returned, and {sorted(map(str, wanted))} are asked for."
        key = next(key for key in wanted if not _equal(given[key], wanted[key], tolerance))
        return f"At the key {key!r}: {_difference(given[key], wanted[key], tolerance)}"
    if isinstance(wanted, (tuple, list)) and type(given) is type(wanted):
        if len(given) != len(wanted):
            return f"{len(given)} values were returned, and {len(wanted)} are asked for."
        place = next(i for i in range(len(wanted)) if not _equal(given[i], wanted[i], tolerance))
        return f"Value {place + 1} of {len(wanted)}: {_difference(given[place], wanted[place], tolerance)}"
    if not isinstance(wanted, np.ndarray) or not isinstance(given, np.ndarray):
        if _kind(given) == _kind(wanted):
            return f"It gives {_brief(given)}."
        return f"It returned {_kind(given)}, and {_kind(wanted)} is asked for."
    if given.shape != wanted.shape:
        return f"It returned {_kind(given)}, and {_kind(wanted)} is asked for."
    if not np.isfinite(given).all():
        return "It gives a value that is not finite (nan or infinity)."
    if not wanted.ndim:
        return f"It gives {_brief(given)}, which is too {'large' if given > wanted else 'small'}."
    off = int((~np.isclose(given, wanted, rtol=tolerance, atol=tolerance)).sum())
    return f"The shape is right, and {off} of {wanted.size} values are not."


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}" if value.ndim else "a single number"
    return f"a value of type {type(value).__name__}"
