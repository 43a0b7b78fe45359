"""Names of methods with their settings: one spelling, and one order in tables."""

import pytest

from dcd_utils import losses
from dcd_utils.experiments import method_order
from dcd_utils.experiments.methods import method_label, settings_of, spelt_out


def test_all_methods_are_spelt_out():
    everything = spelt_out(["all", "DCD", "all+kd"])
    assert everything[: len(losses.names()) + 1] == ["alone", *losses.names()]
    assert everything[len(losses.names()) + 1 :] == [f"{name}+kd" for name in losses.names() if name != "kd"]


def test_a_method_has_one_spelling():
    given = ["dcd@alpha=0.50,learn_scale=true", "DCD@learn_scale=true,alpha=0.5", "rrd@queue_size=2e3", "kd", "KD"]
    assert spelt_out(given) == ["dcd@alpha=0.5,learn_scale=true", "rrd@queue_size=2000", "kd"]
    assert spelt_out(["dcd@weight=1", "dcd+kd@weight=0.5"]) == ["dcd", "dcd+kd@weight=0.5"], "1 is its own weight"


@pytest.mark.parametrize(("method", "words"), [("all+fsp", '"kd.fsp"'), ("alone+kd", "choose one of"), ("x@a=1", "x")])
def test_unknown_methods(method, words):
    with pytest.raises(ValueError, match=words):
        spelt_out([method])


def test_settings_are_options_of_the_loss_and_its_weight():
    assert settings_of("dcd+kd") == ("dcd+kd", {}, {})
    assert settings_of("dcd+kd@alpha=0.25,weight=2") == ("dcd+kd", {"alpha": 0.25}, {"dcd": 2})
    assert settings_of("dcd@max_scale=20.0,learn_scale=false") == ("dcd", {"max_scale": 20, "learn_scale": False}, {})
    for wrong in ("dcd@alpha", "dcd@alpha=high", "dcd@=1", "dcd@", 'dcd@a="b"', "dcd@a=1;b=2"):
        with pytest.raises(ValueError, match=f'"{wrong}": write NAME=VALUE'):
            settings_of(wrong)
    with pytest.raises(ValueError, match="a weight is not negative"):
        settings_of("kd@weight=-1")


def test_a_config_has_the_label_that_the_grid_was_given():
    for label in ("dcd", "dcd+kd@weight=2", "dcd@alpha=0.25,learn_scale=false", "rrd@queue_size=2000"):
        method, options, weights = settings_of(label)
        assert method_label({"method": method, "options": options, "weights": weights}) == label
    usual = {"method": "dcd+kd", "options": {}, "weights": {"dcd": losses.METHODS["dcd"].weight, "kd": 0.5}}
    assert method_label(usual) == "dcd+kd"
    assert method_label({"method": "kd", "stored_answers": "bf16"}) == "kd@stored=bf16"
    assert method_label({"method": "alone"}) == "alone"


def test_order_knows_every_method_and_what_follows_a_plus():
    given = ["dcd+kd", "made_up", "kd", "dcd@alpha=0", "dcd", "alone", "kd+dkd", "teacher", "dcd+dkd", "random"]
    ordered = ["random", "teacher", "alone", "kd", "kd+dkd", "dcd", "dcd@alpha=0", "dcd+kd", "dcd+dkd", "made_up"]
    assert sorted(given, key=method_order) == ordered
