"""The loss explorer: its numbers are the package's, moving a slider changes them, and quickly."""

import math
import re
import time

import numpy as np
import pytest
import torch

from dcd_utils import interactive
from dcd_utils.interactive.loss import loss_parts
from dcd_utils.losses import dcd_terms

# the batch of four of notebook 02: rows are students, columns teachers; the truck's student prefers the car's teacher
COSINES = ((0.96, 0.60, 0.28, 0.80), (0.28, 0.80, -0.96, -0.60), (-0.28, -0.80, 0.96, 0.60), (0.00, -0.60, 1.00, 0.80))
NAMES = ("cat", "dog", "car", "truck")


@pytest.mark.parametrize(
    ("exp_t", "bias", "alpha"), [(math.e, 0.0, 0.5), (0.3, -4.0, 2.0), (10.0, 1.0, 0.0), (14.0, 2.0, 0.5)]
)
def test_parts_equal_the_package_in_values_and_gradients(exp_t, bias, alpha):
    parts = loss_parts(COSINES, exp_t, bias, alpha)
    log_scale = torch.tensor(math.log(exp_t), dtype=torch.float64, requires_grad=True)
    scores = log_scale.exp().clamp(0, 10) * torch.tensor(COSINES, dtype=torch.float64) + bias
    scores.retain_grad()
    contrast, consistency = dcd_terms(scores, torch.eye(4, dtype=torch.float64), 1.0, 0.0)
    (contrast + alpha * consistency).backward()
    assert parts.contrast == pytest.approx(contrast.item(), abs=1e-12)
    assert parts.consistency == pytest.approx(consistency.item(), abs=1e-12)
    assert parts.total == pytest.approx((contrast + alpha * consistency).item(), abs=1e-12)
    np.testing.assert_allclose(parts.scores, scores.detach().numpy(), atol=1e-12)
    np.testing.assert_allclose(parts.p, scores.detach().softmax(1).numpy(), atol=1e-12)
    np.testing.assert_allclose(parts.q, scores.detach().T.softmax(1).numpy(), atol=1e-12)
    np.testing.assert_allclose(parts.gradient, scores.grad.numpy(), atol=1e-12)
    if exp_t != 10.0:  # at the cap itself, rounding decides on which side exp(log(10)) falls
        assert parts.log_scale_gradient == pytest.approx(log_scale.grad.item(), abs=1e-12)


def numbers(explorer):
    """The numbers in the picture's tables."""
    return [float(number) for number in re.findall(r">(-?\d+\.\d+)<", explorer.picture.value)]


def test_each_slider_moves_what_it_should():
    explorer = interactive.loss_explorer(COSINES, NAMES)
    start, picture = explorer.parts, explorer.picture.value
    assert explorer.exp_t.value == pytest.approx(math.e) and explorer.bias.value == 0 and explorer.alpha.value == 0.5
    assert numbers(explorer)[:4] == pytest.approx(start.scores[0], abs=0.005)

    explorer.exp_t.value = 5.0
    assert explorer.parts.scale == 5.0 and explorer.picture.value != picture
    assert "exp(t) 2.72" in explorer.sentence.value and "contrast 0.605 &rarr;" in explorer.sentence.value

    explorer.exp_t.value = 12.0  # the same slider moves on: still compared with where it started
    assert explorer.parts.scale == 10.0 and explorer.parts.log_scale_gradient == 0
    assert "exp(t) 2.72" in explorer.sentence.value and "cap" in explorer.sentence.value

    before = explorer.parts
    explorer.bias.value = 3.0
    assert explorer.parts.total == pytest.approx(before.total, abs=1e-12)
    np.testing.assert_allclose(explorer.parts.scores, before.scores + 3.0)
    assert "did not" in explorer.sentence.value

    explorer.alpha.value = 1.0
    assert explorer.parts.total == pytest.approx(before.contrast + before.consistency)
    assert "bias" not in explorer.sentence.value and "alpha 0.50 &rarr; 1.00" in explorer.sentence.value


def test_a_move_takes_less_than_100_milliseconds():
    explorer = interactive.loss_explorer(COSINES, NAMES)
    seconds = []
    for value in np.linspace(0.2, 15, 20):
        began = time.perf_counter()
        explorer.exp_t.value = value
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.1


def test_another_batch_can_be_explored():
    explorer = interactive.loss_explorer(np.eye(3), ["a", "b", "c"])
    assert explorer.parts.consistency == pytest.approx(0, abs=1e-12)
    assert explorer.picture.value.count("<th>c</th>") == 8  # a row and a column in each of four tables
    for cosines, names in ((np.eye(3), ["a"]), (np.ones((1, 1)), ["a"]), (np.ones(4), list("abcd"))):
        with pytest.raises(ValueError, match="pass \\[B, B\\]"):
            interactive.loss_explorer(cosines, names)


def test_unknown_parts_are_named():
    with pytest.raises(AttributeError, match="loss_explorer"):
        interactive.nothing  # noqa: B018
    assert "loss_explorer" in dir(interactive)
