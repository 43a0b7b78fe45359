"""Floor 4: exercises of the notebooks, checked on the spot.

One module a notebook; its list EXERCISES holds what that notebook asks.
"""

from __future__ import annotations

from importlib import import_module

from dcd_utils.exercises.mechanism import Exercise, Mistake, Result, judge

__all__ = ["Exercise", "Mistake", "Result", "check", "registry"]

_MODULES = {
    "00": "overview",
    "01": "teacher",
    "02": "loss",
    "03": "distillation",
    "04": "embeddings",
    "05": "correlation",
    "06": "comparison",
    "07": "transfer",
}


def registry(notebook: str | None = None) -> dict[str, Exercise]:
    """Exercises by number, in the course's order: those of one notebook ("02"), or all."""
    modules = _MODULES.values() if notebook is None else [_MODULES[notebook]]
    found = [exercise for name in modules for exercise in import_module(f"{__name__}.{name}").EXERCISES]
    return {exercise.number: exercise for exercise in found}


def check(number: str, answer: object) -> Result:
    """Say whether an answer is right, and if not, what is wrong, without giving the answer away.

    Args:
        number: for instance "02.1", as the notebook states it.
        answer: the function that the exercise asks for (or the value, where it asks for one).

    Returns:
        A Result with `ok` and `message`; the message has been printed. An empty, wrong or failing answer never raises.

    Raises:
        ValueError: no exercise has this number.
    """
    notebook = str(number).partition(".")[0]
    exercises = registry(notebook) if notebook in _MODULES else {}
    if number not in exercises:
        raise ValueError(f"there is no exercise {number!r}: the numbers are {', '.join(registry())}")
    result = judge(exercises[number], answer)
    print(result.message)
    return result
