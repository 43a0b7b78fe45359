"""Registering methods: a cell that is run again, other people's methods, and facts that make no sense."""

import math

import pytest
from test_edges import build, pair
from torch import nn

from dcd_utils import losses
from dcd_utils.losses.method import loss_of, unsized

CELL = """
from torch import nn
from dcd_utils import losses
from dcd_utils.losses.method import loss_of, unsized
class Mine(nn.Module):
    def forward(self, student, teacher):
        return FACTOR * (student - teacher).square().mean()
"""
WAYS = {
    "lambda": 'losses.register(losses.Method("mine", lambda *_: Mine(), "logits", 1.0))',
    "partial": "import functools\ndef make(student, teacher, **options): return Mine()\n"
    'losses.register(losses.Method("mine", functools.partial(make), "logits", 1.0))',
    "unsized": 'losses.register(losses.Method("mine", unsized(Mine), "logits", 1.0))',
    "loss_of": 'loss_of("mine", unsized, reads="logits", weight=1.0)(Mine)',
}


def run_cell(way, factor=1.0, module="__main__"):
    exec(CELL.replace("FACTOR", str(factor)) + WAYS[way], {"__name__": module})
    return losses.METHODS["mine"]


@pytest.fixture
def own():
    before = dict(losses.METHODS)
    yield
    losses.METHODS.clear()
    losses.METHODS.update(before)


@pytest.mark.parametrize("way", WAYS)
def test_a_cell_that_registers_a_loss_may_be_run_again(own, way):
    student, teacher = pair()
    values = []
    for factor in (1.0, 3.0):
        run_cell(way, factor)
        values.append(build("mine", student, teacher)(student.logits, teacher.logits).item())
    assert values[1] == pytest.approx(3 * values[0]) and losses.names().count("mine") == 1


@pytest.mark.parametrize("way", ["lambda", "partial", "loss_of"])
def test_somebody_elses_method_is_replaced_only_on_demand(own, way):
    first = run_cell(way)
    with pytest.raises(ValueError, match=r'"mine" exists already \(of __main__.*another name, or pass replace=True'):
        run_cell(way, 2.0, "elsewhere")
    assert losses.METHODS["mine"] is first
    method = losses.Method("mine", lambda *_: nn.MSELoss(), "logits", 1.0)
    assert losses.register(method, replace=True) is method is losses.METHODS["mine"]


def test_the_packages_own_methods_are_not_replaced_by_accident(own):
    before, places = dict(losses.METHODS), losses.names()
    for name in before:
        for made in (lambda *_: nn.MSELoss(), unsized(nn.MSELoss), nn.MSELoss):
            with pytest.raises(ValueError, match=rf'"{name}" exists already \(of dcd_utils.losses.{name}\.'):
                losses.register(losses.Method(name, made, "logits", 1.0))
    assert before == losses.METHODS

    @loss_of("kd", unsized, replace=True, reads="logits", weight=2.0)
    class Gap(nn.Module):
        def forward(self, student, teacher):
            return (student - teacher).abs().mean()

    assert losses.METHODS["kd"].weight == 2.0 and losses.names() == places
    losses.register(before["kd"], replace=True)
    losses.register(before["kd"])  # a module that is loaded again
    assert before == losses.METHODS


@pytest.mark.parametrize("fact", ["weight", "classification", "beside"])
@pytest.mark.parametrize("value", [math.nan, -1.0, "much", True, ...])
def test_facts_of_a_method_that_make_no_sense_are_named(own, fact, value):
    facts = {"weight": 1.0, fact: value}
    with pytest.raises(ValueError, match=f"{fact}=.* was given"):
        losses.register(losses.Method("mine", unsized(nn.MSELoss), "logits", **facts))
    assert "mine" not in losses.METHODS
