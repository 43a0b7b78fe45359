"""DCDLoss and dcd_terms against the formulas, evaluated a second time in NumPy and float64, entry by entry."""

import math

import numpy as np
import pytest
import torch

from dcd_utils.losses import DCDLoss, dcd_terms


def reference_terms(z_student, z_teacher, scale, bias):
    """(contrast, consistency), written with loops so that it shares no step with the package."""
    size = len(z_student)
    s = [[scale * sum(a * b for a, b in zip(i, j, strict=True)) + bias for j in z_teacher] for i in z_student]
    p, q = np.zeros((size, size)), np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            p[i, j] = 1 / sum(math.exp(s[i][k] - s[i][j]) for k in range(size))
            q[i, j] = 1 / sum(math.exp(s[k][i] - s[j][i]) for k in range(size))
    contrast = -sum(math.log(p[i, i]) for i in range(size)) / size
    consistency = sum(q[i, j] * math.log(q[i, j] / p[i, j]) for i in range(size) for j in range(size)) / size
    return contrast, consistency


def reference_loss(parameters, student_features, teacher_features, alpha=0.5, max_scale=10.0):
    embedded = []
    for name, features in (("student", student_features), ("teacher", teacher_features)):
        u = features @ parameters[f"embed_{name}.weight"].T + parameters[f"embed_{name}.bias"]
        embedded.append(u / np.sqrt((u**2).sum(axis=1, keepdims=True)))
    scale = min(max(math.exp(parameters["log_scale"]), 0.0), max_scale)
    contrast, consistency = reference_terms(*embedded, scale, float(parameters["bias"]))
    return contrast + alpha * consistency


def slopes(function, point, step=1e-6):
    """Central finite differences of a scalar function."""
    point = np.asarray(point, dtype=float)
    found = np.zeros_like(point)
    for index in np.ndindex(*point.shape):
        shift = np.zeros_like(point)
        shift[index] = step
        found[index] = (function(point + shift) - function(point - shift)) / (2 * step)
    return found


def wave(*shape, phase):
    """Numbers that look random and are the same everywhere."""
    return torch.sin(torch.arange(math.prod(shape), dtype=torch.float64) * 1.7 + phase).reshape(shape)


def unit(size, dim, seed):
    values = torch.randn(size, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(values, dim=1)


def make(log_scale=1.0, bias=0.0, dtype=torch.float64, **options):
    torch.manual_seed(3)
    loss = DCDLoss(3, 5, embed_dim=4, **options).to(dtype)
    with torch.no_grad():
        loss.log_scale.fill_(log_scale)
        loss.bias.fill_(bias)
    return loss, torch.randn(4, 3, dtype=dtype), torch.randn(4, 5, dtype=dtype)


@pytest.mark.parametrize("size", [2, 3, 7])
@pytest.mark.parametrize(("scale", "bias"), [(math.e, 0.0), (10.0, -3.0), (0.5, 100.0), (0.0, 1.0)])
def test_terms_equal_the_formulas(size, scale, bias):
    z_student, z_teacher = unit(size, 6, 0), unit(size, 6, 1)
    found = [term.item() for term in dcd_terms(z_student, z_teacher, scale, bias)]
    assert found == pytest.approx(reference_terms(z_student.numpy(), z_teacher.numpy(), scale, bias), abs=1e-10)


@pytest.mark.parametrize(
    ("log_scale", "bias", "alpha"), [(1.0, 0.0, 0.5), (2.2, 0.7, 2.0), (2.5, 0.0, 0.5), (1.0, 0.0, 0.0)]
)
def test_loss_and_every_gradient_equal_the_formulas(log_scale, bias, alpha):
    loss, student, teacher = make(log_scale, bias, alpha=alpha)
    student.requires_grad_()
    value = loss(student, teacher)
    value.backward()
    state = {name: parameter.detach().numpy() for name, parameter in loss.named_parameters()}
    inputs = student.detach().numpy(), teacher.numpy()
    assert value.item() == pytest.approx(reference_loss(state, *inputs, alpha), abs=1e-10)
    for name, parameter in loss.named_parameters():

        def moved(numbers, name=name):
            return reference_loss({**state, name: numbers}, *inputs, alpha)

        np.testing.assert_allclose(parameter.grad.numpy(), slopes(moved, state[name]), atol=1e-8, err_msg=name)
    on_student = slopes(lambda numbers: reference_loss(state, numbers, inputs[1], alpha), inputs[0])
    np.testing.assert_allclose(student.grad.numpy(), on_student, atol=1e-8)


def test_float32_is_within_1e_6_of_float64():
    wide, student, teacher = make()
    narrow = make(dtype=torch.float32)[0]
    narrow.load_state_dict(wide.state_dict())
    a, b = wide(student, teacher), narrow(student.float(), teacher.float())
    assert b.item() == pytest.approx(a.item(), abs=1e-6)
    gradients = [torch.autograd.grad(value, loss.parameters()) for value, loss in ((a, wide), (b, narrow))]
    for left, right in zip(*gradients, strict=True):
        torch.testing.assert_close(left, right.double(), atol=1e-6, rtol=0)


def test_closed_forms():
    same = torch.ones(5, 1, dtype=torch.float64)  # every cosine is 1: guessing
    contrast, consistency = dcd_terms(same, same, 7.0, 0.0)
    assert contrast.item() == pytest.approx(math.log(5)) and consistency.item() == pytest.approx(0, abs=1e-12)
    axes = torch.eye(4, dtype=torch.float64)  # right cosines 1, wrong ones 0
    contrast, consistency = dcd_terms(axes, axes, 3.0, 0.0)
    assert contrast.item() == pytest.approx(math.log(1 + 3 * math.exp(-3))) and abs(consistency.item()) < 1e-12
    two = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)  # scores 0.5 * [[1, 0], [0.6, 0.8]]
    p, q = [1 / (1 + math.exp(-0.5)), 1 / (1 + math.exp(0.1))], [1 / (1 + math.exp(-0.2)), 1 / (1 + math.exp(-0.4))]
    p[1] = 1 / (1 + math.exp(0.5 * (0.6 - 0.8)))
    contrast, consistency = dcd_terms(two, torch.eye(2, dtype=torch.float64), 0.5, 0.0)
    divergence = [b * math.log(b / a) + (1 - b) * math.log((1 - b) / (1 - a)) for a, b in zip(p, q, strict=True)]
    assert contrast.item() == pytest.approx(-(math.log(p[0]) + math.log(p[1])) / 2)
    assert consistency.item() == pytest.approx(sum(divergence) / 2)


def test_golden_values():
    """Numbers of the authors' released loss (CIFAR trainer, float64) for the same weights and features."""
    loss = DCDLoss(5, 7, embed_dim=3).double()
    with torch.no_grad():
        loss.embed_student.weight.copy_(wave(3, 5, phase=0.1))
        loss.embed_student.bias.copy_(wave(3, phase=0.2))
        loss.embed_teacher.weight.copy_(wave(3, 7, phase=0.3))
        loss.embed_teacher.bias.copy_(wave(3, phase=0.4))
    student, teacher = wave(6, 5, phase=0.5).requires_grad_(), wave(6, 7, phase=0.6)
    for log_scale, value, norms, on_scale in (
        (1.0, 2.173294519239, (0.329983384423, 0.368576337459, 0.400794928163), 0.886675822795),
        (2.0, 4.145367906309, (1.077951647084, 1.303242583975, 1.176989650216), 3.501781236744),
    ):
        with torch.no_grad():
            loss.log_scale.fill_(log_scale)
        found = loss(student, teacher)
        on = (student, loss.embed_student.weight, loss.embed_teacher.weight, loss.log_scale)
        *matrices, scale = torch.autograd.grad(found, on)
        assert found.item() == pytest.approx(value, abs=1e-10)
        assert [gradient.norm().item() for gradient in matrices] == pytest.approx(norms, abs=1e-10)
        assert scale.item() == pytest.approx(on_scale, abs=1e-10)


def test_the_bias_cancels():
    values = []
    for bias in (0.0, -50.0, 3.0):
        loss, student, teacher = make(bias=bias)
        value = loss(student, teacher)
        value.backward()
        values.append(value.item())
        assert abs(loss.bias.grad.item()) < 1e-15  # zero but for the rounding of a sum that cancels
    assert values == pytest.approx([values[0]] * 3, abs=1e-12)


def test_the_scale_starts_at_e_and_its_gradient_ends_at_the_cap():
    loss, student, teacher = make()
    assert loss.scale.item() == pytest.approx(math.e)
    loss(student, teacher).backward()
    assert loss.log_scale.grad.item() != 0
    capped, _, _ = make(log_scale=2.4)
    assert capped.scale.item() == 10.0
    capped(student, teacher).backward()
    assert capped.log_scale.grad.item() == 0.0
    assert capped.embed_student.weight.grad.abs().max() > 0


def test_no_gradient_reaches_the_teacher_but_its_map_is_trained():
    loss, student, teacher = make()
    teacher.requires_grad_()
    loss(student, teacher).backward()
    assert teacher.grad is None
    assert loss.embed_teacher.weight.grad.abs().max() > 0


def test_terms_of_the_last_call_are_kept_and_detached():
    loss, student, teacher = make(alpha=0.25)
    value = loss(student, teacher)
    assert set(loss.terms) == {"contrast", "consistency", "scale", "bias"}
    assert not any(term.requires_grad for term in loss.terms.values())
    assert value.item() == pytest.approx((loss.terms["contrast"] + 0.25 * loss.terms["consistency"]).item())
    assert set(loss.state_dict()) == {name for name, _ in loss.named_parameters()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [1e4, 1e-4])
def test_mixed_precision_does_not_overflow(dtype, size):
    loss, student, teacher = make(log_scale=2.3, dtype=torch.float32)
    student, teacher = (size * student).to(dtype).requires_grad_(), (size * teacher).to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        value = loss(student, teacher)
    value.backward()
    assert value.dtype == torch.float32
    outside = loss(student.detach().float(), teacher.float())
    assert value.item() == pytest.approx(outside.item(), abs=1e-5)  # float32 arithmetic: only the inputs are rounded
    gradients = [student.grad, *(parameter.grad for parameter in loss.parameters())]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_a_batch_of_two_works_and_of_one_is_refused():
    loss, student, teacher = make()
    assert math.isfinite(loss(student[:2], teacher[:2]).item())
    with pytest.raises(ValueError, match="a batch of 1 .*at least 2"):
        loss(student[:1], teacher[:1])
    with pytest.raises(ValueError, match="a batch of 0"):
        dcd_terms(torch.zeros(0, 3), torch.zeros(0, 3), 1.0, 0.0)


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        ((4, 6), (4, 5), r"student features are \(4, 6\), expected \[B, 3\].*student_dim=6"),
        ((4, 3), (4, 9), r"teacher features are \(4, 9\), expected \[B, 5\].*teacher_dim=9"),
        ((4, 3, 8, 8), (4, 5), r"student features are \(4, 3, 8, 8\)"),
        ((3,), (4, 5), r"student features are \(3,\)"),
        ((4, 3), (3, 5), r"4 student rows and 3 teacher rows"),
    ],
)
def test_shapes_that_do_not_fit_are_named(student, teacher, message):
    with pytest.raises(ValueError, match=message):
        make()[0](torch.zeros(student, dtype=torch.float64), torch.zeros(teacher, dtype=torch.float64))


def test_terms_name_shapes_that_differ():
    with pytest.raises(ValueError, match=r"\(4, 3\).*\(4, 2\).*same B and D"):
        dcd_terms(torch.zeros(4, 3), torch.zeros(4, 2), 1.0, 0.0)


@pytest.mark.parametrize("setting", [{"student_dim": 0}, {"embed_dim": 0}, {"max_scale": 0.0}, {"alpha": -1.0}])
def test_impossible_settings_are_refused(setting):
    with pytest.raises(ValueError, match="it must be a"):
        DCDLoss(**{"student_dim": 3, "teacher_dim": 5, **setting})


def test_the_ablations_leave_out_exactly_what_they_say():
    whole, student, teacher = make(2.0)
    whole(student, teacher)
    contrast, consistency = whole.terms["contrast"].item(), whole.terms["consistency"].item()

    def value(**options):
        loss, *inputs = make(2.0, **options)
        return loss, loss(*inputs)

    assert value(alpha=0.0)[1].item() == pytest.approx(contrast)
    assert value(contrast=0.0, alpha=1.0)[1].item() == pytest.approx(consistency)
    for option, frozen in (
        ("learn_scale", {"log_scale"}),
        ("learn_bias", {"bias"}),
        ("learn_teacher_map", {"embed_teacher.weight", "embed_teacher.bias"}),
    ):
        loss, total = value(**{option: False})
        total.backward()
        assert total.item() == pytest.approx(contrast + 0.5 * consistency)
        assert {name for name, parameter in loss.named_parameters() if parameter.grad is None} == frozen
    with pytest.raises(ValueError, match="contrast=-1"):
        DCDLoss(3, 3, contrast=-1.0)


@pytest.mark.parametrize(
    "seen, options",
    [
        ([[0, 2, 3, 4, 5], [1, 2, 3, 4, 5], [2, 0, 1, 3, 4, 5], *([i, 0, 1, 2] for i in (3, 4, 5))],
         {"mask_classmates": True}),
        ([[0, 5, 1], [1, 0, 2], [2, 1, 3], [3, 2, 4], [4, 3, 5], [5, 4, 0]], {"negatives": 2}),
        ([[0, 4, 5, 2], [1, 5, 2, 3], [2, 0, 1, 3, 4], [3, 1, 2], [4, 2, 0], [5, 0, 1]],
         {"negatives": 4, "mask_classmates": True}),
    ],
)  # fmt: skip
def test_what_is_masked_is_no_negative(seen, options):
    torch.manual_seed(3)
    student, teacher = torch.randn(6, 5, dtype=torch.float64, requires_grad=True), torch.randn(6, 7).double()
    labels = torch.tensor([0, 0, 1, 2, 2, 2])
    loss = DCDLoss(5, 7, embed_dim=3, alpha=0.7, **options).double()
    value = loss(student, teacher, labels)
    first, second = loss.embed(student, teacher)
    scores = loss.scale * first @ second.T
    total = 0.0
    for i, others in enumerate(seen):
        p, q = scores[i, others].softmax(0), scores[others, i].softmax(0)
        total = total - p[others.index(i)].log() + 0.7 * (q * (q / p).log()).sum()
    torch.testing.assert_close(value, total / 6)
    value.backward()
    assert student.grad.isfinite().all() and student.grad.abs().max() > 0
    plain = DCDLoss(5, 7, embed_dim=3, alpha=0.7).double()
    plain.load_state_dict(loss.state_dict())
    assert plain(student, teacher, labels) > value, "fewer negatives are easier to tell apart"
    if "mask_classmates" in options:
        with pytest.raises(ValueError, match="needs the labels of the 6 images"):
            loss(student, teacher)


@pytest.mark.parametrize("number", [0, 3, -2])
def test_an_odd_number_of_negatives_is_refused(number):
    with pytest.raises(ValueError, match=f"negatives={number} was given: it must be an even number"):
        DCDLoss(3, 3, negatives=number)
