"""Exercises of the notebooks, checked on the spot. A module's constants are the exercises of one notebook."""

from importlib import import_module
from pkgutil import iter_modules

from dcd_utils.exercises.mechanism import Exercise, Result, judge

__all__ = ["Exercise", "Result", "check", "registry"]


def registry() -> dict[str, Exercise]:
    """Exercises by number, in the course's order."""
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    exercises = [value for module in modules for value in vars(module).values() if isinstance(value, Exercise)]
    return {exercise.title.split()[0]: exercise for exercise in sorted(exercises, key=lambda exercise: exercise.title)}


def check(number: str, answer: object) -> Result:
    """Say whether an answer is right, and if not, what is wrong, without giving the answer away.

    Args:
        number: for instance "02.1", as the notebook states it.
        answer: the function that the exercise asks for.

    Returns:
        A Result with `ok` and `message`; the message has been printed. An empty, wrong or failing answer never raises.

    Raises:
        ValueError: no exercise has this number.
    """
    exercises = registry()
    if number not in exercises:
        raise ValueError(f"there is no exercise {number!r}: the numbers are {', '.join(exercises)}")
    result = judge(exercises[number], answer)
    print(result.message)
    return result
