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
    """Print whether the function that an exercise, for instance "02.1", asks for is right, and if not, what is wrong.
    The message keeps the right answer to itself. No answer raises, whatever it is; an unknown number raises
    ValueError."""
    exercises = registry()
    if number not in exercises:
        raise ValueError(f"there is no exercise {number!r}: the numbers are {', '.join(exercises)}")
    result = judge(exercises[number], answer)
    print(result.message)
    return result
