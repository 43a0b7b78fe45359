"""Every method at its edges: features without content, types of numbers and impossible settings."""

import functools
import inspect
import math

import golden
import numpy as np
import pytest
import torch
from torch import nn

from dcd_utils import losses
from dcd_utils.losses.shared import SHORTEST, unit
from dcd_utils.models import Features

BATCH, CLASSES = 8, 5
SIZES = [(2, 4), (2, 4), (3, 4), (4, 2)]
OPTIONS = {"rrd": {"queue_size": 16}, "crd": {"negatives": 12}}


def each(features, change):
    maps, pooled, logits = features
    return Features([change(map) for map in maps], change(pooled), change(logits))


def pair(batch=BATCH, classes=CLASSES, dtype=torch.float32):
    """Two networks' features of a batch, of equal shapes so that every method fits."""
    draw = functools.partial(torch.randn, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    made = []
    for _ in range(2):
        maps = [draw(batch, channels, side, side) for channels, side in SIZES]
        made.append(Features(maps, draw(batch, 7).relu(), 3 * draw(batch, classes)))
    return [each(features, lambda part: part.to(dtype)) for features in made]


def build(method, student, teacher, dtype=torch.float32, **options):
    torch.manual_seed(0)
    options = {**OPTIONS.get(method, {}), **options}
    objective = losses.objective(method, student, teacher, train_labels=torch.arange(40) % 5, **options)
    return objective.to(dtype).losses[method]


def call(method, loss, student, teacher, labels=None):
    """(value, largest slope of anything that learns)."""
    own = losses.METHODS[method]
    read = getattr(each(student, lambda part: part.detach().clone().requires_grad_()), own.reads)
    besides = {"labels": torch.arange(BATCH) % CLASSES if labels is None else labels, "indices": torch.arange(BATCH)}
    besides = {need: besides[need][: len(student.logits)] for need in own.needs}
    value = loss(read, getattr(teacher, own.reads), **besides)
    learns = [*(read if isinstance(read, list) else [read]), *(p for p in loss.parameters() if p.requires_grad)]
    slopes = torch.autograd.grad(value, learns, allow_unused=True, materialize_grads=True)
    return value.detach(), max(slope.abs().max().item() if slope.isfinite().all() else math.inf for slope in slopes)


def zeroed(part):
    return part * 0


def constant(part):
    return part * 0 + 0.7


def alike(part):
    return part[:1].expand_as(part)


def two_dead(part):
    return torch.cat([part[:2] * 0, part[2:]])


def twins(part):
    return torch.cat([part[:1], part[:1], part[2:]])


def dead_channel(part):
    return torch.cat([part[:, :1] * 0, part[:, 1:]], dim=1)


def as_drawn(part):
    return part


def faint(part):
    return part * 1e-15


CHANGES = [zeroed, constant, alike, two_dead, twins, dead_channel, as_drawn, faint]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", losses.names())
def test_features_without_content_give_a_finite_loss_and_a_gradient_of_ordinary_size(method, dtype):
    student, teacher = pair(dtype=dtype)
    limit = 1e8 if method == "ft" else 1e3  # three batch norms, each of which divides what is constant by sqrt(1e-5)
    for of_student in CHANGES:
        for of_teacher in {as_drawn, of_student}:
            changed = each(student, of_student), each(teacher, of_teacher)
            value, slope = call(method, build(method, *changed, dtype), *changed)
            assert value.isfinite() and slope < limit, (of_student.__name__, of_teacher.__name__)
    small = each(student, lambda part: part * 1e-6)  # a gradient grows as what it is of shrinks, up to a point
    value, slope = call(method, build(method, small, teacher, dtype), small, teacher)
    assert value.isfinite() and slope < 5e7  # rkd: 50 / 1e-6
    large = each(student, lambda part: part * 1e4)
    value, slope = call(method, build(method, large, teacher, dtype), large, teacher)
    assert value.isfinite() and math.isfinite(slope)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", losses.names())
def test_small_batches_few_classes_and_equal_networks_are_right_or_refused(method, dtype):
    for batch, classes, one_class in ((2, 5, False), (BATCH, 5, True), (BATCH, 2, False), (BATCH, 1, False)):
        student, teacher = pair(batch, classes, dtype)
        labels = torch.arange(BATCH) % min(classes, 1 if one_class else CLASSES)
        loss = build(method, student, teacher, dtype)
        if classes < 3 and method in ("dkd", "dist", "lskd"):
            with pytest.raises(ValueError, match="at least 3 .*choose kd"):
                call(method, loss, student, teacher, labels)
            continue
        for other in (student, teacher):
            value, slope = call(method, loss, student, other, labels)
            assert value.isfinite() and slope < 1e3, (batch, classes, one_class)


def test_dist_within_the_classes_alone_knows_two_of_them():
    student, teacher = pair(classes=2)
    assert call("dist", losses.DISTLoss(inter=0.0), student, teacher)[1] > 1e-3
    with pytest.raises(ValueError, match="at least 2 "):
        losses.DISTLoss(inter=0.0)(torch.ones(8, 1), torch.ones(8, 1))


@pytest.mark.parametrize("method", ["lskd", "dist", "dist+lskd", "kd+lskd", "dkd+dist"])
def test_a_classifier_that_starts_at_zero_learns(method):
    torch.manual_seed(0)
    labels = torch.arange(60) % 6
    inputs = nn.functional.one_hot(labels, 6) * 2.0 + 0.5 * torch.randn(60, 6)
    teacher = Features([], inputs, 4 * nn.functional.one_hot(labels, 6) + torch.randn(60, 6))
    classifier = nn.Linear(6, 6)
    nn.init.zeros_(classifier.weight), nn.init.zeros_(classifier.bias)
    objective = losses.objective(method, teacher, teacher)
    optimizer = torch.optim.SGD(classifier.parameters(), lr=0.005, momentum=0.9)
    for _ in range(60):
        logits = classifier(inputs)
        total, terms = objective(Features([], inputs, logits), teacher, labels)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert terms["classification"] < 0.5 * math.log(6) and logits.abs().max() < 100
    assert (logits.argmax(dim=1) == labels).float().mean() > 0.95


def test_unit_vectors_are_those_of_pytorch_down_to_where_there_is_no_direction():
    vectors = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    vectors *= 10.0 ** torch.arange(-6, 4).repeat(5)[:, None]
    vectors = vectors[vectors.norm(dim=1) > SHORTEST].requires_grad_()
    for found, expected in (
        (unit(vectors), nn.functional.normalize(vectors)),
        (unit(vectors.T, dim=0), nn.functional.normalize(vectors.T, dim=0)),
    ):
        slopes = [torch.autograd.grad(made.sin().sum(), vectors)[0] for made in (found, expected)]
        assert torch.equal(found, expected) and torch.equal(*slopes)
    short = torch.full((3, 7), SHORTEST / 9, requires_grad=True)
    unit(short).sum().backward()
    assert unit(short).eq(0).all() and short.grad.eq(0).all()


# Types


@pytest.mark.parametrize("method", losses.names())
def test_features_of_any_type_are_right_in_the_type_of_the_loss(method):
    half, other_half, single, double = torch.float16, torch.bfloat16, torch.float32, torch.float64
    pairs = (half, half), (other_half, single), (single, other_half), (single, double), (double, single)
    for first, second in (*pairs, (double, double)):
        student, teacher = pair(dtype=first)[0], pair(dtype=second)[1]
        wide = [each(part, lambda tensor: tensor.double()) for part in (student, teacher)]
        exact, _ = call(method, build(method, *wide, torch.float64), *wide)
        of_loss = second if second == torch.float64 else torch.float32
        loss = build(method, student, teacher, of_loss)
        value, slope = call(method, loss, student, teacher)
        assert value.dtype == (of_loss if list(loss.parameters()) else torch.promote_types(first, torch.float32))
        close = 1e-12 if value.dtype == torch.float64 else 2e-5
        assert value.item() == pytest.approx(exact.item(), rel=close, abs=close) and math.isfinite(slope)


def test_autocast_does_not_reach_into_a_loss():
    student, teacher = pair()
    for method in losses.names():
        outside = call(method, build(method, student, teacher), student, teacher)
        with torch.autocast("cpu", torch.bfloat16):
            inside = call(method, build(method, student, teacher), student, teacher)
        assert inside[0] == outside[0] and inside[0].dtype == torch.float32, method


# Settings


WRONG = [math.nan, math.inf, -math.inf, -1, "a string", None, [1.0], torch.tensor(0.5)]
NOT_ZERO = {"temperature", "teacher_temperature", "max_scale", "rate", "variance"}


def settings():
    for method in losses.names():
        for setting in inspect.signature(type(build(method, *pair()))).parameters.values():
            if setting.default is not setting.empty:
                yield method, setting.name, setting.default


@pytest.mark.parametrize(("method", "name", "default"), list(settings()))
def test_a_setting_that_makes_no_sense_is_named(method, name, default):
    student, teacher = pair()
    whole = default is None or (isinstance(default, int) and not isinstance(default, bool))
    wrong = [*WRONG, *([0, 1] if isinstance(default, bool) else [True])]
    wrong += [0] * (whole or name in NOT_ZERO) + [1.5] * whole + [1.5] * (name == "momentum")
    for value in wrong:
        if (name, value) in (("negatives", None), ("max_scale", math.inf)):  # all of them; no cap
            continue
        if method == "crd" and name == "negatives" and value is None:
            continue
        with pytest.raises(ValueError, match=name):
            build(method, student, teacher, **{name: value})
    right = {"hint": [np.int64(2)], "negatives": [2], "queue_size": [8], "embed_dim": [1]}
    right = right.get(name, [0.5, np.float32(0.5)])
    for value in [True, False] if isinstance(default, bool) else [default, *right]:
        assert call(method, build(method, student, teacher, **{name: value}), student, teacher)[0].isfinite()


def test_the_scale_may_have_no_cap_and_a_variance_lies_above_its_smallest():
    assert losses.DCDLoss(3, 3, max_scale=math.inf).scale.item() == pytest.approx(math.e)
    with pytest.raises(ValueError, match="variance - smallest=-1"):
        build("vid", *pair(), variance=1.0, smallest=2.0)


@pytest.mark.parametrize("term", ["classification", "dcd", "kd"])
def test_a_weight_that_makes_no_sense_is_named(term):
    student, teacher = pair()
    for weight in [*WRONG, True]:
        with pytest.raises(ValueError, match=f'the weight of "{term}"=.* was given: it must be a finite number'):
            losses.objective("dcd+kd", student, teacher, weights={term: weight})
    for weight in (0, 0.0, 2, np.float32(0.5)):
        objective = losses.objective("dcd+kd", student, teacher, weights={term: weight})
        total, _ = objective(student, teacher, torch.arange(8) % 5)
        assert total.isfinite()


def test_weights_that_leave_nothing_to_learn_are_refused():
    student, teacher = pair()
    for method in ("dcd", "ab", "fsp"):
        with pytest.raises(ValueError, match=f"weights of classification, {method} are all 0"):
            losses.objective(method, student, teacher, weights={"classification": 0.0, method: 0.0})
    with pytest.raises(ValueError, match='weight of "classification"=nan'):
        losses.Objective(math.nan)


@pytest.mark.parametrize("method", [name for name in losses.names() if losses.METHODS[name].reads == "maps"])
def test_a_network_that_shows_no_maps_is_named(method):
    student, teacher = pair()
    bare = student._replace(maps=[])
    for given in ((bare, teacher), (student, bare), (bare, bare)):
        with pytest.raises(ValueError, match="at least two of each|channels"):
            losses.objective(method, *given)
    if method == "fsp":
        one = student._replace(maps=student.maps[:1])
        with pytest.raises(ValueError, match="at least two of each"):
            losses.objective(method, one, one)


def test_golden_features_are_far_from_every_floor():
    """So that the golden figures, and all runs of ordinary networks, are those of the published code."""
    _, student, teacher, _ = golden.case("kd")
    for features in (student, teacher):
        assert features.logits.std(dim=1).min() > 0.05
        spread = (features.logits / 4).softmax(dim=1)
        assert (spread.std(dim=0) / spread.norm(dim=0)).min() > 5e-3
