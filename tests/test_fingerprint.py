"""What is told apart is in tests/training/test_config.py, network by network; here stands what no run can show."""

import functools
import os
import subprocess
import sys
import types
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dcd_utils import losses
from dcd_utils.fingerprint import _library, fingerprint, is_settled

SOURCE = """
import dataclasses, torch
from torch import nn
from dcd_utils.training import Recipe
from dcd_utils.fingerprint import fingerprint

@dataclasses.dataclass(frozen=True)
class Mine(Recipe):
    floor: float = 0.1
    names: tuple = dataclasses.field(default_factory=tuple)

WORDS = {"one", "two", "three", "four", "five", "six"}

def f(x, kind="one"):
    return x + 1 if kind in {"one", "two", "three", "four", "five", "six"} and kind in WORDS else x

def g(x):
    return f(x) * torch.ones(3)

print(*(fingerprint(value, "value") for value in (Mine(), f, g, nn.Conv2d, torch.relu)))
"""


def test_a_fingerprint_is_the_same_in_every_process():
    lines = set()
    for seed in "12":  # of Python's hashes of strings, which decide the order of a set
        environment = os.environ | {"PYTHONHASHSEED": seed}
        command = [sys.executable, "-W", "error:value holds what:UserWarning", "-c", SOURCE]
        child = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8")
        assert child.returncode == 0, child.stderr
        lines.add(child.stdout)
    assert len(lines) == 1 and len({*lines.pop().split()}) == 5


@pytest.mark.parametrize(
    "values",
    [
        (0, 0.0, False, None, "0", b"0"),
        ([1, 2], [2, 1], [[1], 2], (1, 2, 3)),
        ({"a": 1}, {"a": 2}, {"b": 1}, {}),
        ({1, 2}, {1, 3}),
        (torch.zeros(2), torch.zeros(3), torch.zeros(2).double(), torch.ones(2)),
        (np.zeros(2), np.zeros((2, 1)), np.zeros(2, np.float32), np.ones(2)),
        (F.relu, F.silu, torch.relu, torch.tanh, np.tanh, F.max_pool2d, F.adaptive_max_pool2d),
        (torch.float32, torch.float16, torch.device("cpu"), torch.Size([1])),
        (nn.ReLU(), nn.ReLU(inplace=True), nn.Tanh(), nn.Sequential(nn.ReLU()), nn.ReLU),
        (nn.Dropout(0.1), nn.Dropout(0.2), functools.partial(nn.Dropout, 0.1), functools.partial(nn.Dropout, 0.2)),
        (torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)),
        (lambda x: x + 1, lambda x: x + 2, lambda x: x - 1, lambda x, y: x + 1, lambda x, y=1: x + 1),
        (lambda x: (lambda y: y + 1)(x), lambda x: (lambda y: y + 2)(x)),
        (lambda x: x.relu, lambda x: x.tanh, lambda x: x[True], lambda x: x[1]),
    ],
)
def test_other_values_have_other_fingerprints(values):
    assert len({fingerprint(value, "value") for value in values}) == len(values)
    assert [fingerprint([value], "value") for value in values] == [fingerprint([value], "value") for value in values]


def test_what_holds_itself_and_what_it_holds_twice():
    loop = []
    loop.append(loop)
    assert fingerprint(loop, "a loop") == fingerprint(loop, "a loop")

    def recursive(n):
        return recursive(n - 1) if n else 0

    assert fingerprint(recursive, "f") == fingerprint(recursive, "f")
    layer = nn.Linear(2, 2)
    assert fingerprint(nn.Sequential(layer, layer), "x") != fingerprint(nn.Sequential(layer, nn.Linear(2, 2)), "x")


def test_weights_are_no_part_of_it():
    torch.manual_seed(0)
    assert fingerprint(nn.Linear(2, 2), "x") == fingerprint(nn.Linear(2, 2), "x") != fingerprint(nn.Linear(2, 3), "x")


def test_what_cannot_be_looked_into_is_said_once_for_each_name():
    class Secret:
        __slots__ = ()

    class Shows:
        __slots__ = ("value",)

        def __repr__(self):
            return f"Shows({object()})"  # another address each time

    for name, value, word in (("first", Secret(), "Secret"), ("second", Shows(), "Shows"),
                              ("third", types.ModuleType("own_module"), "own_module")):  # fmt: skip
        with pytest.warns(UserWarning, match=f"{name} holds what cannot be looked into .*{word}.*version=") as caught:
            assert fingerprint([value], name) == fingerprint([value], name)
        assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fingerprint([Secret()], "first")


def test_the_package_and_libraries_are_known_by_their_names():
    assert is_settled(losses.KDLoss()) and not is_settled(nn.Linear(1, 1)) and not is_settled(len)
    before = fingerprint(losses.KDLoss, "loss")
    assert before == fingerprint(losses.KDLoss, "loss") != fingerprint(losses.DCDLoss, "loss")


def test_code_of_the_program_that_runs_is_somebodys_own_wherever_that_program_lies(monkeypatch):
    """As of a class written into a script that a tool of site-packages runs."""
    program = types.ModuleType("__main__")
    program.__file__ = "/somewhere/site-packages/tool/__main__.py"
    monkeypatch.setitem(sys.modules, "__main__", program)
    _library.cache_clear()
    prints = []
    for factor in (2, 3):
        namespace = {"__name__": "__main__"}
        exec(f"def loss(x):\n    return {factor} * x", namespace)
        prints.append(fingerprint(namespace["loss"], "loss"))
    assert prints[0] != prints[1]
