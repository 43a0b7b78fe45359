"""Methods as grids and tables spell them: a name, with settings behind an @."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from dcd_utils import losses


def method_label(facts: dict) -> str:
    """Return a method with its settings as tables call it: "dcd@alpha=0.25" for {"method": "dcd", "options": ...}."""
    method, settings = facts["method"], dict(facts.get("options", {}))
    first = method.partition("+")[0]
    weight = facts.get("weights", {}).get(first)
    if weight is not None and first in losses.METHODS and weight != losses.METHODS[first].weight:
        settings["weight"] = weight
    if facts.get("stored_answers"):  # rounded for storing, so not what the exact ones give
        settings["stored"] = facts["stored_answers"]
    if code := facts.get("code", {}).get(first):  # a loss of somebody's own, which may have changed
        settings["code"] = code.removeprefix("version ")
    written = ",".join(f"{key}={_number(value)}" for key, value in sorted(settings.items()))
    return f"{method}@{written}" if written else method


def _number(value: Any) -> str:
    whole = isinstance(value, float) and value == int(value)
    return value if isinstance(value, str) else json.dumps(int(value) if whole else value)


def spelt_out(methods: Iterable[str]) -> list[str]:
    """Return methods with "all" and "all+..." spelt out, each once and in one spelling ("dcd@alpha=0.50" is
    "dcd@alpha=0.5").

    Raises:
        ValueError: an unknown method, or settings that cannot be read.
    """
    names = []
    for method in methods:
        first, plus, rest = method.lower().partition("+")
        if first == "all" and plus:
            names += [f"{name}+{rest}" for name in losses.names() if name != rest]
        elif first == "all":
            names += ["alone", *losses.names()]
        else:
            names.append(method.lower())
    spelt = []
    for name in names:
        method, options, weights = settings_of(name)
        if method != "alone":
            losses.parse(method)
        spelt.append(method_label({"method": method, "options": options, "weights": weights}) if "@" in name else name)
    return list(dict.fromkeys(spelt))


def settings_of(method: str) -> tuple[str, dict, dict]:
    """Split a name with settings into method, options of its loss, and weights: "dcd@alpha=0.25" is
    ("dcd", {"alpha": 0.25}, {}).

    Raises:
        ValueError: something behind the @ is not name=value, with a number or true or false as its value.
    """
    name, at, rest = method.partition("@")
    options = {}
    for entry in rest.split(",") if at else ():
        key, _, text = entry.partition("=")
        try:
            value = json.loads(text)
            if not key.strip() or not isinstance(value, int | float):
                raise ValueError
        except ValueError:
            raise ValueError(
                f'"{entry}" was given in "{method}": write NAME=VALUE with a number, true or false, several parted by '
                "commas, for instance dcd@alpha=0.25,learn_scale=false"
            ) from None
        options[key.strip()] = int(value) if isinstance(value, float) and value == int(value) else value
    weights = {name.split("+")[0]: options.pop("weight")} if "weight" in options else {}
    if any(weight < 0 for weight in weights.values()):
        raise ValueError(f'"{method}" was given: a weight is not negative')
    return name, options, weights


def method_order(method: str) -> tuple:
    """Return where a method stands in tables: teacher, student alone, then as in `losses.names`, each before what
    follows it with a plus."""
    first = ("random", "teacher", "alone", *losses.names())
    name, _, settings = method.partition("@")
    places = ((first.index(part) if part in first else len(first), part) for part in name.split("+"))
    return (*places, (-1, settings))
