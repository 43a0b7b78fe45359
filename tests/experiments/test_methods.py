"""Names of methods with their settings: one spelling, and one order in tables."""

import pytest

from dcd_utils import losses
from dcd_utils.experiments import KD_AS_PARTNER, method_order, title
from dcd_utils.experiments.methods import method_label, settings_of, spelt_out


def test_all_methods_are_spelt_out():
    everything = spelt_out(["all", "DCD", "all+kd"])
    assert everything[: len(losses.names()) + 1] == ["alone", *losses.names()]
    assert everything[len(losses.names()) + 1 :] == [f"{name}+kd" for name in losses.names() if name != "kd"]


def test_a_method_has_one_spelling():
    given = ["dcd@alpha=0.50,learn_scale=true", "DCD@learn_scale=true,alpha=0.5", "rrd@queue_size=2e3", "kd", "KD"]
    assert spelt_out(given) == ["dcd@alpha=0.5,learn_scale=true", "rrd@queue_size=2000", "kd"]
    assert spelt_out(["dcd@weight=1", "dcd+kd@weight=0.5"]) == ["dcd", "dcd+kd@weight=0.5"], "1 is its own weight"
    assert spelt_out(["KD@weight=1.0,classification=1", "kd@classification=0.1,weight=0.9"]) == [KD_AS_PARTNER, "kd"]


@pytest.mark.parametrize(("method", "words"), [("all+fsp", '"kd.fsp"'), ("alone+kd", "choose one of"), ("x@a=1", "x")])
def test_unknown_methods(method, words):
    with pytest.raises(ValueError, match=words):
        spelt_out([method])


def test_settings_are_options_of_the_loss_and_weights_of_its_terms():
    assert settings_of("dcd+kd") == ("dcd+kd", {}, {})
    assert settings_of("dcd+kd@alpha=0.25,weight=2,kd=3") == ("dcd+kd", {"alpha": 0.25}, {"dcd": 2.0, "kd": 3.0})
    assert settings_of("dcd@max_scale=20.0,learn_scale=false") == ("dcd", {"max_scale": 20, "learn_scale": False}, {})
    for wrong in ("dcd@alpha", "dcd@alpha=high", "dcd@=1", "dcd@", 'dcd@a="b"', "dcd@a=1;b=2", "dcd@a=NaN"):
        with pytest.raises(ValueError, match=f'"{wrong}": write NAME=VALUE'):
            settings_of(wrong)
    for wrong in ("weight=-1", "classification=-0.5", "weight=true"):
        with pytest.raises(ValueError, match=f'"{wrong}" was given in "kd@{wrong}": a weight is a number that is not'):
            settings_of(f"kd@{wrong}")


def test_kd_as_it_is_behind_a_plus_can_be_asked_for_by_itself():
    method, options, weights = settings_of(KD_AS_PARTNER)
    assert (method, options, weights) == ("kd", {}, {"classification": 1.0, "kd": 1.0})
    assert all(isinstance(weight, float) for weight in weights.values()), "1 and 1.0 would be two configs"
    behind = losses.default_weights("dcd+kd")
    assert {term: behind[term] for term in weights} == weights != losses.default_weights("kd")


def test_a_config_has_the_label_that_the_grid_was_given():
    for label in (
        "dcd", "dcd+kd@weight=2", "dcd@alpha=0.25,learn_scale=false", "rrd@queue_size=2000", KD_AS_PARTNER,
        "kd@weight=1", "dcd+kd@classification=0.1,kd=0.9",
    ):  # fmt: skip
        method, options, weights = settings_of(label)
        assert method_label({"method": method, "options": options, "weights": weights}) == label
    for usual in ("kd", "dcd+kd", "kd+dkd", "fitnet+kd"):
        assert method_label({"method": usual, "options": {}, "weights": losses.default_weights(usual)}) == usual
    assert method_label({"method": "alone"}) == "alone"
    assert method_label({"method": "not_here", "weights": {"not_here": 3.0}}) == "not_here"


def test_titles():
    shown = {
        "random": "untrained student", "teacher": "teacher", "alone": "student alone", "kd": "KD", "dcd+kd": "DCD+KD",
        "fitnet+kd": "FitNet+KD", KD_AS_PARTNER: "KD at 1 and 1", "kd@weight=1": "KD, weight=1",
        "dcd@alpha=0,learn_bias=false": "DCD, alpha=0, learn_bias=false",
        "kd@classification=1,temperature=2,weight=1": "KD at 1 and 1, temperature=2",
    }  # fmt: skip
    assert {method: title(method) for method in shown} == shown


def test_order_knows_every_method_and_what_follows_a_plus():
    given = ["dcd+kd", "made_up", "kd", "dcd@alpha=0", "dcd", "alone", "kd+dkd", "teacher", "dcd+dkd", "random"]
    given += ["kd@classification=0.5", KD_AS_PARTNER]
    ordered = ["random", "teacher", "alone", "kd", KD_AS_PARTNER, "kd@classification=0.5", "kd+dkd", "dcd"]
    ordered += ["dcd@alpha=0", "dcd+kd", "dcd+dkd", "made_up"]
    assert sorted(given, key=method_order) == ordered
