"""Methods as grids and tables spell them: a name, with settings behind an @."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from dcd_utils import losses

# KD with the weights that it has behind a plus, where published KD has 0.1 and 0.9: what a "+kd" is compared with
KD_AS_PARTNER = "kd@classification=1,weight=1"
_TITLES = {"random": "untrained student", "teacher": "teacher", "alone": "student alone", "fitnet": "FitNet"}


def method_label(facts: dict) -> str:
    """Return a method with its settings as tables call it: "dcd@alpha=0.25" for {"method": "dcd", "options": ...}.
    Weights are named where they are not the published ones: "weight" is the first loss's, others are named as terms.
    """
    method, settings = facts["method"], dict(facts.get("options", {}))
    first = method.partition("+")[0]
    with suppress(ValueError):  # alone, or a method that is not registered here
        for term, usual in losses.default_weights(method).items():
            if (weight := facts.get("weights", {}).get(term, usual)) != usual:
                settings["weight" if term == first else term] = weight
    if code := facts.get("code", {}).get(first):  # a loss of somebody's own, which may have changed
        settings["code"] = code.removeprefix("version ")
    words = {key: value if isinstance(value, str) else json.dumps(_whole(value)) for key, value in settings.items()}
    written = ",".join(f"{key}={words[key]}" for key in sorted(words))
    return f"{method}@{written}" if written else method


def title(method: str) -> str:
    """Return a method as tables and figures show it: "student alone", "KD", "KD at 1 and 1", "DCD, alpha=0"."""
    name, _, rest = method.partition("@")
    settings = rest.split(",") if rest else []
    shown, partner = "+".join(_TITLES.get(part, part.upper()) for part in name.split("+")), KD_AS_PARTNER[3:].split(",")
    if name == "kd" and set(partner) <= set(settings):
        shown, settings = "KD at 1 and 1", [setting for setting in settings if setting not in partner]
    return ", ".join([shown, *settings])


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value == int(value) else value


def spelt_out(methods: Iterable[str]) -> list[str]:
    """Return methods with "all" and "all+..." spelt out, each once and in one spelling ("dcd@alpha=0.50" is
    "dcd@alpha=0.5"). An unknown method, or settings that cannot be read, are a ValueError."""
    spelt = {}
    for given in map(str.lower, methods):
        first, plus, rest = given.partition("+")
        names = [f"{name}+{rest}" for name in losses.names() if name != rest] if plus else ["alone", *losses.names()]
        for name in names if first == "all" else [given]:
            facts = dict(zip(("method", "options", "weights"), settings_of(name), strict=True))
            if facts["method"] != "alone":
                losses.parse(facts["method"])
            spelt[method_label(facts) if "@" in name else name] = None
    return [*spelt]


def settings_of(method: str) -> tuple[str, dict, dict]:
    """Split a name with settings into method, options of its loss, and weights: "dcd@alpha=0.25" is
    ("dcd", {"alpha": 0.25}, {}), "kd@classification=1,weight=1" is ("kd", {}, {"classification": 1.0, "kd": 1.0}).
    Behind the @ stands NAME=VALUE with a number, true or false, or it is a ValueError, as is a weight that is none."""
    name, at, rest = method.partition("@")
    first, *others = name.split("+")
    terms = {"weight": first} | {term: term for term in ("classification", *others)}
    options, weights = {}, {}
    for entry in rest.split(",") if at else ():
        (key, _, text), value = map(str.strip, entry.partition("=")), None
        with suppress(ValueError):
            value = json.loads(text)
        if not key or not isinstance(value, int | float) or not math.isfinite(value):
            advice = "several parted by commas, for instance dcd@alpha=0.25,learn_scale=false"
            words = f'"{entry}" was given in "{method}": write NAME=VALUE with a number, true or false, {advice}'
            raise ValueError(words)
        if key not in terms:
            options[key] = _whole(value)
        elif isinstance(value, bool) or value < 0:
            raise ValueError(f'"{entry}" was given in "{method}": a weight is a number that is not negative')
        else:
            weights[terms[key]] = float(value)
    return name, options, weights


def method_order(method: str) -> tuple:
    """Return where a method stands in tables: teacher, student alone, then as in `losses.names`, each before what
    follows it with a plus; with settings right behind the one without, KD at 1 and 1 before any other."""
    first = ("random", "teacher", "alone", *losses.names())
    name, _, settings = method.partition("@")
    places = ((first.index(part) if part in first else len(first), part) for part in name.split("+"))
    return (*places, (-1, method not in (name, KD_AS_PARTNER), settings))
