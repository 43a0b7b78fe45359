"""The weighted objective: its value, its terms, its weights, and the names of methods."""

import numpy as np
import pytest
import torch

from dcd_utils import losses
from dcd_utils.losses import Objective
from dcd_utils.models import Features

# Methods of this file's own claims; others may join METHODS.
PUBLISHED = {
    "kd": {"classification": 0.1, "kd": 0.9},
    "dcd": {"classification": 1.0, "dcd": 1.0},
    "dcd+kd": {"classification": 1.0, "dcd": 1.0, "kd": 1.0},
}


def batch(seed=0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)

    def features(width):
        pooled, logits = (torch.randn(6, size, dtype=torch.float64, generator=draw).to(dtype) for size in (width, 4))
        return Features(maps=[], pooled=pooled, logits=logits.requires_grad_())

    return features(3), features(5), torch.arange(6) % 4


@pytest.mark.parametrize("method", PUBLISHED)
def test_the_total_is_the_published_weighted_sum(method):
    student, teacher, labels = batch()
    objective = losses.objective(method, student, teacher).double()
    assert objective.weights == PUBLISHED[method]
    total, terms = objective(student, teacher, labels)
    logits = student.logits.detach().numpy()
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert terms["classification"].item() == pytest.approx(-log_p[range(6), labels.numpy()].mean(), abs=1e-6)
    weighted = [weight * terms[name].item() for name, weight in objective.weights.items()]
    assert total.item() == pytest.approx(sum(weighted), abs=1e-6)
    assert not any(term.requires_grad for term in terms.values())
    if "dcd" in terms:
        alone = objective.losses["dcd"](student.pooled, teacher.pooled)
        assert terms["dcd"].item() == pytest.approx(alone.item())
        assert {"contrast", "consistency", "scale", "bias"} <= set(terms)
    if "kd" in terms:
        assert terms["kd"].item() == pytest.approx(losses.KDLoss(4.0)(student.logits, teacher.logits).item())


def test_the_gradient_is_the_weighted_sum_of_the_parts_gradients():
    student, teacher, labels = batch()
    total, _ = losses.objective("kd", student, teacher)(student, teacher, labels)
    by_total = torch.autograd.grad(total, student.logits)[0]
    p, q = (student.logits / 4).softmax(1), (teacher.logits / 4).softmax(1)
    one_hot = torch.nn.functional.one_hot(labels, 4)
    by_hand = 0.1 * (student.logits.softmax(1) - one_hot) / 6 + 0.9 * 4 * (p - q) / 6
    torch.testing.assert_close(by_total, by_hand.detach(), atol=1e-6, rtol=0)


def test_without_a_teacher_it_is_cross_entropy():
    student, _, labels = batch(dtype=torch.float32)
    total, terms = Objective()(student, None, labels)
    assert total.item() == pytest.approx(torch.nn.functional.cross_entropy(student.logits, labels).item())
    assert list(terms) == ["classification"]


def test_options_and_weights_reach_the_method():
    student, teacher, labels = batch()
    objective = losses.objective("dcd+kd", student, teacher, weights={"classification": 0.0, "dcd": 2.0}, alpha=0.0)
    assert objective.weights == {"classification": 0.0, "dcd": 2.0, "kd": 1.0}
    assert objective.losses["dcd"].alpha == 0.0 and objective.losses["kd"].temperature == 4.0
    assert losses.objective("kd", student, teacher, temperature=2.0).losses["kd"].temperature == 2.0


def test_learned_parts_are_parameters_of_the_objective():
    student, teacher, _ = batch()
    names = [name for name, _ in losses.objective("dcd", student, teacher).named_parameters()]
    for part in ("embed_student.weight", "embed_teacher.weight", "log_scale", "bias"):
        assert f"losses.dcd.{part}" in names


@pytest.mark.parametrize("method", ["nothing", "dcd+dcd", "kd+kd", "kd+dcd", "dcd+kd+kd", "", "+kd", None, 3])
def test_a_method_that_does_not_exist_gets_the_list(method):
    student, teacher, _ = batch()
    with pytest.raises(ValueError, match="does not exist: choose one of .*kd.*dcd"):
        losses.objective(method, student, teacher)


def test_case_does_not_matter_and_names_are_listed():
    assert losses.parse("DCD+KD") == ["dcd", "kd"]
    assert {"kd", "dcd"} <= set(losses.names())


def test_a_weight_or_option_that_fits_nothing_is_refused():
    student, teacher, _ = batch()
    with pytest.raises(ValueError, match='weight for "kd" .*classification, dcd'):
        losses.objective("dcd", student, teacher, weights={"kd": 1.0})
    with pytest.raises(TypeError):
        losses.objective("dcd", student, teacher, temperature=2.0)
