import math

import pytest
import torch

from dcd_utils import models, runtime
from dcd_utils.training import PAPER, QUICK, Recipe, recipe_for
from dcd_utils.training.recipe import resolve_precision

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def test_paper_recipe_and_its_steps():
    assert (PAPER.epochs, PAPER.batch_size, PAPER.learning_rate, PAPER.weight_decay) == (240, 64, 0.05, 5e-4)
    rates = [PAPER.learning_rate_at(epoch * 10, 10) for epoch in (0, 149, 150, 180, 210, 239)]
    assert rates == pytest.approx([0.05, 0.05, 0.005, 0.0005, 0.00005, 0.00005])
    assert PAPER.learning_rate_at(1499, 10) == 0.05, "the rate falls at the start of the milestone's epoch, not before"


def test_one_cycle_rises_then_falls_to_zero():
    recipe = QUICK.but(epochs=10)
    rates = [recipe.learning_rate_at(step, 10) for step in range(100)]
    assert max(rates) == pytest.approx(recipe.learning_rate) and rates.index(max(rates)) == 19
    assert rates[9] == pytest.approx(recipe.learning_rate / 2)
    assert all(later < earlier for earlier, later in zip(rates[19:], rates[20:], strict=False)) and rates[
        -1
    ] == pytest.approx(0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0), ("epochs", 2.5), ("batch_size", 1), ("learning_rate", 0), ("learning_rate", math.nan),
        ("schedule", "cosine"), ("milestones", (180, 150)), ("decay", 0), ("momentum", 1), ("weight_decay", -1),
        ("precision", "fp8"),
    ],
)  # fmt: skip
def test_impossible_values_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name}="):
        Recipe(**{name: value})
    with pytest.raises(ValueError, match="nesterov"):
        Recipe(nesterov=True, momentum=0)


def test_mobile_networks_take_a_fifth_of_a_named_recipes_rate():
    assert recipe_for(PAPER, "MobileNetV2").learning_rate == 0.01
    assert recipe_for(PAPER.but(precision="fp32"), "ShuffleV1") == PAPER.but(precision="fp32", learning_rate=0.01)
    for recipe, network in ((PAPER, "resnet8"), (QUICK, "vgg8"), (PAPER.but(batch_size=128), "ShuffleV2")):
        assert recipe_for(recipe, network) == recipe
    for recipe in (QUICK, QUICK.but(epochs=3), QUICK.but(precision="bf16")):
        assert recipe_for(recipe, "ShuffleV2") == recipe.but(learning_rate=0.02)


def test_bf16_is_refused_on_a_gpu_without_it(monkeypatch):
    monkeypatch.setattr(runtime, "bf16_pays", lambda device: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old GPU")
    assert resolve_precision("auto", GPU) == "fp32" == resolve_precision("fp32", GPU)
    assert resolve_precision("bf16", CPU) == "bf16", "a CPU emulates it"
    with pytest.raises(ValueError, match="Old GPU does not compute in bfloat16: choose precision"):
        resolve_precision("bf16", GPU)


def test_auto_precision_goes_by_the_network_on_a_cpu(monkeypatch):
    monkeypatch.setattr(runtime, "bf16_pays", lambda device: True)
    for name, expected in {"resnet8": "bf16", "MobileNetV2": "fp32", "ShuffleV1": "fp32", "ShuffleV2": "fp32"}.items():
        network = models.create(name, 10)
        assert resolve_precision("auto", CPU, network) == expected
        assert resolve_precision("auto", GPU, network) == "bf16"
        assert resolve_precision("bf16", CPU, network) == "bf16", "what is asked for is done"
