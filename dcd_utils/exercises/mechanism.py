"""What an exercise is, and how an answer to one is judged."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import shorten

import numpy as np


@dataclass
class Exercise:
    """A question: its title as in the notebook ("02.1 Both directions"), and the arguments of each call, as tuples."""

    title: str
    cases: Sequence[tuple]

    def answers(self, right: Callable, *wrong_and_hints: Callable | str):
        """Set the right answer and typical wrong ones, the more specific first, each followed by its hint. An answer
        returns a number, True or False, an array or tensor, or a tuple of those. A mistake is recognised by its values,
        however it is written. A hint says what to look at again, and does not contain the answer."""
        self.answer = right
        self.mistakes = tuple(zip(wrong_and_hints[::2], wrong_and_hints[1::2], strict=True))
        return self


@dataclass(frozen=True)
class Result:
    """Whether an answer is right, and what was said about it."""

    ok: bool
    message: str

    def _ipython_display_(self):
        """Show nothing as the last line of a cell: `check` has printed the message."""


def judge(exercise: Exercise, answer: object) -> Result:
    """Call `answer` on every case and compare; see `check`."""
    fault = _fault(exercise, answer)
    return Result(not fault, f"Exercise {exercise.title}: {fault or 'correct.'}")


def _fault(exercise, answer) -> str:
    """What is wrong with an answer, in words that do not contain the right values; empty if nothing is."""
    if answer is None or answer is Ellipsis:
        return "not answered yet. Fill in the function above, then run this cell again."
    if not callable(answer):
        return f"a function is asked for, not a {type(answer).__name__}: pass the function uncalled."
    returned = []
    for case in exercise.cases:
        try:
            returned.append(_plain(answer(*copy.deepcopy(case))))
        except (Exception, SystemExit) as error:
            if isinstance(error, NotImplementedError) and not str(error):
                return "not answered yet. Put your code where `raise NotImplementedError()` stands, then run again."
            return f"the function raised {type(error).__name__}: {error}{_called(case)}"
        if returned[-1] is None or returned[-1] is Ellipsis:
            return "not answered yet: the function returned nothing. Is its `return` missing?"

    def differences(function, tolerance=1e-4):
        pairs = zip(returned, exercise.cases, strict=True)
        return [_difference(value, function(*copy.deepcopy(case)), tolerance) for value, case in pairs]

    wrong = [(words, case) for words, case in zip(differences(exercise.answer), exercise.cases, strict=True) if words]
    if not wrong:
        return ""
    words, case = wrong[0]
    if not any(differences(exercise.answer, 1e-2)):
        words = "Right to 1 %, but not to 0.01 %. Was something rounded or approximated, or computed in 16 bits?"
    hints = (hint for mistake, hint in exercise.mistakes if not any(differences(mistake)))
    return f"not right yet. {next(hints, words + _called(case))}"


def _difference(returned, expected, tolerance: float) -> str:
    """What sets a value apart from the expected one, in words; empty if nothing does."""
    if isinstance(expected, tuple):
        several = isinstance(returned, list) or (isinstance(returned, np.ndarray) and returned.ndim)
        values = [_plain(value) for value in returned] if several else [returned]
        if len(values) != len(expected):
            return f"The number of returned values is {len(values)}, and {len(expected)} are asked for."
        words = [_difference(*pair, tolerance) for pair in zip(values, expected, strict=True)]
        return next((f"Value {i + 1} of {len(words)}: {text}" for i, text in enumerate(words) if text), "")
    expected = _plain(expected)
    if _kind(returned) != _kind(expected):
        return f"It returned {_kind(returned)}, and {_kind(expected)} is asked for."
    # an answer computed in float32 is off by less; a typical mistake is off by ten times as much in some case, or more
    right = np.isclose(returned, expected, rtol=tolerance, atol=tolerance / 10)
    if right.all():
        return ""
    if not np.isfinite(returned).all():
        return "It gives a value that is not finite (nan or infinity)."
    if expected.ndim:
        return f"The shape is right, and {(~right).sum()} of {right.size} values are not."
    if expected.dtype == bool:
        return f"It says {returned} where it should not."
    return f"It gives {returned:.6g}, which is too {'large' if returned > expected else 'small'}."


def _plain(value):
    """Tensors, numbers, and lists or tuples of numbers as an array; other lists and tuples as a list of such parts."""
    if isinstance(value, (list, tuple)):
        value = [_plain(item) for item in value]
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            value = value.double() if value.is_floating_point() else value  # NumPy has no bfloat16
        array = np.asarray(value).copy()  # an answer may write into the same memory at the next call
    except Exception:  # rows of unequal length, or an object that NumPy refuses
        return value
    return array if array.dtype.kind in "biuf" else value


def _kind(value) -> str:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        return f"a value of type {type(value).__name__}"
    if value.ndim:
        return f"an array of shape {value.shape}"
    return "True or False" if value.dtype == bool else "a single number"


def _called(case: tuple) -> str:
    """What was passed, as the last lines of a message."""
    with np.printoptions(precision=3, suppress=True, threshold=16, edgeitems=2):
        texts = [f"{_kind(v)}:\n{v}" if getattr(v, "ndim", 0) else shorten(str(v), 120) for v in map(_plain, case)]
    return "\nIt was called with " + ", ".join(texts)
