"""KDLoss against Hinton's formula, evaluated a second time in NumPy and float64."""

import math

import numpy as np
import pytest
import torch

from dcd_utils.losses import KDLoss


def reference(student, teacher, temperature):
    def softened(logits):
        powers = np.exp(logits / temperature - (logits / temperature).max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    p, q = softened(student), softened(teacher)
    return temperature**2 * (q * np.log(q / p)).sum(axis=1).mean()


def logits(size=5, classes=4, seed=0, dtype=torch.float64):
    made = 3 * torch.randn(2, size, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return made[0].to(dtype), made[1].to(dtype)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_value_and_gradient_equal_the_formula(temperature):
    student, teacher = logits()
    student.requires_grad_()
    value = KDLoss(temperature)(student, teacher)
    value.backward()
    assert value.item() == pytest.approx(reference(student.detach().numpy(), teacher.numpy(), temperature), abs=1e-10)
    softened = [(x / temperature).softmax(dim=1) for x in (student.detach(), teacher)]
    by_hand = temperature * (softened[0] - softened[1]) / len(student)
    torch.testing.assert_close(student.grad, by_hand, atol=1e-12, rtol=0)


def test_golden_values():
    """Numbers of the authors' released distillation loss (T = 4, float64)."""

    def wave(phase):
        return 5 * torch.sin(torch.arange(24, dtype=torch.float64) * 1.7 + phase).reshape(6, 4)

    student = wave(0.7).requires_grad_()
    value = KDLoss(4.0)(student, wave(1.9))
    value.backward()
    assert value.item() == pytest.approx(6.583237858253, abs=1e-10)
    assert student.grad.norm().item() == pytest.approx(0.751133603732, abs=1e-10)
    assert student.grad[0, 0].item() == pytest.approx(-0.064487478631, abs=1e-10)


def test_closed_forms():
    student, teacher = logits()
    assert KDLoss(4.0)(teacher, teacher).item() == pytest.approx(0, abs=1e-12)
    assert KDLoss(4.0)(student + 7, teacher - 3).item() == pytest.approx(KDLoss(4.0)(student, teacher).item())
    two = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64)  # teacher 1/4, 3/4 against an undecided student
    expected = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    assert KDLoss(1.0)(torch.zeros_like(two), two).item() == pytest.approx(expected)


def test_a_high_temperature_matches_centred_logits():
    student, teacher = logits()
    gap = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    limit = gap.square().sum(dim=1).mean() / (2 * student.shape[1])
    assert KDLoss(1e4)(student, teacher).item() == pytest.approx(limit.item(), rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_does_not_overflow(dtype):
    student, teacher = logits()
    student, teacher = (1e4 * student.sign()).to(dtype).requires_grad_(), (1e4 * teacher.sign()).to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        value = KDLoss(4.0)(student, teacher)
    value.backward()
    assert value.dtype == torch.float32 and torch.isfinite(value)
    assert torch.isfinite(student.grad).all()


def test_no_gradient_reaches_the_teacher():
    student, teacher = (x.requires_grad_() for x in logits())
    KDLoss()(student, teacher).backward()
    assert teacher.grad is None and student.grad is not None


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"\(5, 4\).*\(5, 3\).*same C classes"):
        KDLoss()(torch.zeros(5, 4), torch.zeros(5, 3))
    with pytest.raises(ValueError, match=r"both must be \[B, C\]"):
        KDLoss()(torch.zeros(5), torch.zeros(5))
    for temperature in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="must be a finite number above 0"):
            KDLoss(temperature)
