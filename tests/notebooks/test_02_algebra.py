"""The algebra of notebook 02: its definitions equal the package, autograd, finite differences and closed forms."""

import math

import pytest
import torch
import torch.nn.functional as F
from notebook_code import definitions

from dcd_utils import losses, runtime
from dcd_utils.models import Features


def wide(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def taught():
    return definitions("02_dcd_loss")


@pytest.fixture(autouse=True)
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_terms_equal_the_package(taught):
    z_student, z_teacher = F.normalize(wide(6, 5), dim=1), F.normalize(wide(6, 5, seed=1), dim=1)
    for scale, bias in ((math.e, 0.0), (10.0, -2.0)):
        ours, package = (f(z_student, z_teacher, scale, bias) for f in (taught.dcd_terms, losses.dcd_terms))
        torch.testing.assert_close(ours, package, atol=1e-10, rtol=0)


@pytest.mark.parametrize("log_scale", [1.0, 2.0, 2.4])
def test_module_equals_the_package_in_value_and_gradients(taught, log_scale):
    ours, package = taught.DCDLoss(7, 9, embed_dim=6, alpha=0.3), losses.DCDLoss(7, 9, embed_dim=6, alpha=0.3)
    package.load_state_dict(ours.state_dict())  # the same parameters under the same names
    found = []
    for loss in (ours, package):
        with torch.no_grad():
            loss.log_scale.fill_(log_scale)
        features = wide(8, 7, seed=2).requires_grad_()
        value = loss(features, wide(8, 9, seed=3))
        found.append((value, *torch.autograd.grad(value, [features, *loss.parameters()])))
    torch.testing.assert_close(*found, atol=1e-10, rtol=0)


def test_defaults_equal_the_package(taught):
    ours, package = taught.DCDLoss(7, 9), losses.DCDLoss(7, 9)
    assert (ours.alpha, ours.max_scale) == (package.alpha, package.max_scale)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in package.state_dict().items()}
    assert (ours.log_scale.item(), ours.bias.item()) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("method", "weights", "stated"),
    [
        ("kd", None, (0.1, 0.9, 0.0)),
        ("dcd", None, (1.0, 0.0, 1.0)),
        ("dcd+kd", None, (1.0, 1.0, 1.0)),
        ("dcd+kd", {"classification": 0.5, "kd": 2.0, "dcd": 0.8}, (0.5, 2.0, 0.8)),
    ],
)
def test_the_objective_as_a_sum_equals_the_package(taught, method, weights, stated):
    inputs = [wide(6, size, seed=size).requires_grad_() for size in (7, 5)]
    student = Features([], *inputs)
    teacher = Features([], wide(6, 9, seed=2), 3 * wide(6, 5, seed=3))
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    options = {"embed_dim": 4} if "dcd" in method else {}
    objective = losses.objective(method, student, teacher, weights=weights, **options)
    dcd_loss = objective.losses["dcd"] if "dcd" in method else losses.DCDLoss(7, 9)
    total, terms = taught.weighted_sum(student, teacher, labels, dcd_loss, *stated)
    package_total, package_terms = objective(student, teacher, labels)
    torch.testing.assert_close(total, package_total, atol=1e-10, rtol=0)
    for name in objective.weights:
        torch.testing.assert_close(terms[name].detach(), package_terms[name], atol=1e-10, rtol=0)
    gradients = [torch.autograd.grad(value, inputs[1])[0] for value in (total, package_total)]
    torch.testing.assert_close(*gradients, atol=1e-10, rtol=0)


def test_the_default_weights_of_the_sum_are_those_of_dcd_with_kd(taught):
    features = Features([], wide(6, 7), wide(6, 5, seed=1))
    dcd_loss = losses.DCDLoss(7, 7)
    total, terms = taught.weighted_sum(features, features, torch.arange(6) % 5, dcd_loss)
    assert total.item() == pytest.approx(sum(terms.values()).item())
    assert set(terms) == set(losses.objective("dcd+kd", features, features).weights)


@pytest.mark.parametrize("size", [2, 4, 9])
def test_score_gradients_by_hand_equal_autograd_and_finite_differences(taught, size):
    scores = (3 * wide(size, size, seed=size)).requires_grad_()
    for place, by_hand in enumerate(taught.score_gradients(scores.detach())):

        def term(s, place=place):
            return losses.dcd_terms(s, torch.eye(size), 1.0, 0.0)[place]

        torch.testing.assert_close(by_hand, torch.autograd.grad(term(scores), scores)[0], atol=1e-10, rtol=0)
        torch.testing.assert_close(by_hand, taught.finite_differences(term, scores.detach()), atol=1e-9, rtol=0)


@pytest.mark.parametrize("log_scale", [1.0, 2.2, 2.4])
def test_chain_rule_by_hand_equals_autograd(taught, log_scale):
    point = [wide(5, 3), wide(5, 3, seed=1), torch.tensor(log_scale), torch.tensor(0.4)]
    for value in point:
        value.requires_grad_()
    unit = [F.normalize(u, dim=1) for u in point[:2]]
    contrast, consistency = losses.dcd_terms(*unit, point[2].exp().clamp(0, 10), point[3])
    autograd = torch.autograd.grad(contrast + 0.5 * consistency, point)
    by_hand = taught.backward_by_hand(*(value.detach() for value in point))
    torch.testing.assert_close(by_hand, autograd, atol=1e-10, rtol=0)
    assert by_hand[3].abs() < 1e-15
    if log_scale > math.log(10):
        assert by_hand[2] == 0


def test_rows_of_the_gradients_cancel_so_the_bias_does(taught):
    contrast, consistency = taught.score_gradients(3 * wide(6, 6))
    assert contrast.sum(dim=1).abs().max() < 1e-15
    assert consistency.sum().abs() < 1e-15
    scores = 3 * wide(6, 6)
    moved = [losses.dcd_terms(scores, torch.eye(6), 1.0, bias) for bias in (0.0, 40.0)]
    torch.testing.assert_close(*moved, atol=1e-10, rtol=0)


def test_the_sigmoid_loss_feels_its_bias(taught):
    scores = wide(5, 5)
    bias = torch.tensor(0.0, requires_grad=True)
    gradient = torch.autograd.grad(taught.sigmoid_loss(scores + bias), bias)[0]
    assert gradient.item() == pytest.approx(((scores.sigmoid() - torch.eye(5)).sum() / 5).item())
    assert gradient.abs() > 0.1
    pairs = [(s, i == j) for i, row in enumerate(scores.tolist()) for j, s in enumerate(row)]
    expected = sum(math.log(1 + math.exp(-s if match else s)) for s, match in pairs) / 5
    assert taught.sigmoid_loss(scores).item() == pytest.approx(expected)


def test_the_gaussian_pairs_have_their_information(taught):
    toy = taught.gaussian_pairs(1.5, games=100, size=100, generator=runtime.generator("test"))
    ratio = taught.log_density_ratio(*toy)
    assert ratio.diagonal(dim1=1, dim2=2).mean().item() == pytest.approx(1.5, abs=0.05)
    x, y, rho = toy
    joint = torch.distributions.Normal(rho * x[0, 0], math.sqrt(1 - rho**2)).log_prob(y[0, 7]).sum()
    alone = torch.distributions.Normal(0.0, 1.0).log_prob(y[0, 7]).sum()
    assert ratio[0, 0, 7].item() == pytest.approx((joint - alone).item())


def test_the_bound_holds_and_saturates(taught):
    for size in (4, 32):
        for information in (0.5, 2.0, 8.0):
            toy = taught.gaussian_pairs(information, 8192 // size, size, generator=runtime.generator(size, information))
            ratio = taught.log_density_ratio(*toy)
            bound, error = taught.information_bound(ratio)
            assert bound < min(information + 4 * error, math.log(size))
            for worse in (ratio / 2, 2 * ratio, torch.zeros_like(ratio)):
                assert taught.information_bound(worse)[0] < bound + 1e-9
            shifted = ratio + toy[0].sum(dim=2, keepdim=True)  # a function of x alone changes nothing
            assert taught.information_bound(shifted)[0] == pytest.approx(bound, abs=1e-10)
    assert bound == pytest.approx(math.log(32), abs=0.05)


@pytest.mark.parametrize("size", [2, 4, 64])
@pytest.mark.parametrize("scale", [0.5, math.e, 10.0])
def test_the_smallest_contrast_is_reached_by_the_simplex_and_by_nothing_below(taught, size, scale):
    closed = taught.smallest_contrast(scale, size)
    simplex = F.normalize(torch.eye(size) - 1 / size, dim=1)
    assert losses.dcd_terms(simplex, simplex, scale, 0.0)[0].item() == pytest.approx(closed, abs=1e-10)
    nearly = [F.normalize(simplex + 0.1 * wide(size, size, seed=seed), dim=1) for seed in (0, 1)]
    for batch in (nearly, (wide(size, 3), wide(size, 3, seed=1)), (nearly[0], nearly[0])):
        unit = [F.normalize(u, dim=1) for u in batch]
        assert losses.dcd_terms(*unit, scale, 0.0)[0].item() >= closed - 1e-12


def test_the_smallest_contrasts_that_the_text_states(taught):
    assert taught.smallest_contrast(math.e, 64) == pytest.approx(1.606, abs=0.0005)
    assert taught.smallest_contrast(10.0, 64) == pytest.approx(0.0024, abs=0.00005)


@pytest.mark.parametrize("scale", [0.5, math.e, 5.0, 10.0])
def test_a_batch_certifies_at_most_log_b_and_the_scale(taught, scale):
    certified = [math.log(size) - taught.smallest_contrast(scale, size) for size in (2, 4, 64, 256, 16384)]
    assert all(nats < min(scale, math.log(size)) for nats, size in zip(certified, (2, 4, 64, 256, 16384), strict=True))
    assert certified == sorted(certified) and certified[-1] == pytest.approx(min(scale, math.log(16384)), rel=0.06)
    assert taught.smallest_contrast(0.0, 64) == pytest.approx(math.log(64))


def test_maps_reach_a_simplex_of_one_image_more_than_the_features_are_wide(taught):
    simplex = torch.eye(64) - 1 / 64
    basis = torch.linalg.svd(simplex)[2][:63]  # its corners in 63 dimensions
    loss = taught.DCDLoss(63, 63)
    with torch.no_grad():
        for layer in (loss.embed_student, loss.embed_teacher):
            layer.weight.copy_(torch.eye(128, 63))
            layer.bias.copy_(-2 * layer.weight.sum(dim=1))
    features = simplex @ basis.T + 2  # none is negative, as behind a ReLU; the bias takes the 2 off again
    assert features.min() > 0
    unit = F.normalize(loss.embed_student(features), dim=1)
    assert losses.dcd_terms(unit, unit, 10.0, 0.0)[0].item() == pytest.approx(taught.smallest_contrast(10.0, 64))
    assert torch.linalg.matrix_rank(simplex) == 63

    layer = torch.nn.Linear(62, 128)  # with the bias it fills 63 dimensions, but with all images on one side of 0
    u = layer(wide(64, 62)).detach()
    assert torch.linalg.matrix_rank(u) == 63
    off = torch.linalg.svd(layer.weight.detach())[0][:, 62:]  # what the matrix cannot reach
    along = u @ off @ off.T @ layer.bias.detach()
    assert along.min() > 0 and torch.allclose(along, along[0])


def test_the_size_of_the_features_counts_through_the_bias_alone(taught):
    loss, features, teacher = taught.DCDLoss(7, 9), wide(8, 7, seed=2), wide(8, 9, seed=3)
    with_bias = [loss(factor * features, teacher).item() for factor in (1, 3, 1e6)]
    torch.nn.init.zeros_(loss.embed_student.bias)
    without = [loss(factor * features, teacher).item() for factor in (1, 3, 1e6)]
    assert without == pytest.approx([without[0]] * 3, abs=1e-12)
    assert abs(with_bias[1] - with_bias[0]) > 1e-3 and with_bias[2] == pytest.approx(without[0], abs=1e-5)


def test_consistency_is_zero_exactly_when_the_scores_are_symmetric():
    for seed in range(5):
        scores = 3 * wide(5, 5, seed=seed)
        symmetric = losses.dcd_terms((scores + scores.T) / 2, torch.eye(5), 1.0, 0.0)[1]
        assert symmetric.abs() < 1e-14 and losses.dcd_terms(scores, torch.eye(5), 1.0, 0.0)[1] > 1e-3


def test_the_scale_meets_cap_and_decay_as_the_text_says(taught):
    kept, free = taught.follow_scale(1.0), taught.follow_scale(1.0, weight_decay=0.0)
    alone = taught.follow_scale(2.0, loss=False)
    assert kept.max() > 100 and kept[-1] == pytest.approx(10, abs=0.1)
    assert free[-1] > 100 and free[-1] == pytest.approx(free[-1000])
    assert math.log(alone[2773]) == pytest.approx(1.0, abs=0.02)  # decay alone halves t in about 2,770 steps

    log_scale = torch.tensor(1.0, requires_grad=True)  # the written-out optimiser is PyTorch's
    optimiser = torch.optim.SGD([log_scale], lr=0.05, momentum=0.9, weight_decay=5e-4)
    simplex = F.normalize(torch.eye(64) - 1 / 64, dim=1)
    for step in range(60):
        assert log_scale.exp().item() == pytest.approx(kept[step], rel=1e-9)
        optimiser.zero_grad()
        losses.dcd_terms(simplex, simplex, log_scale.exp().clamp(0, 10), 0.0)[0].backward()
        optimiser.step()
