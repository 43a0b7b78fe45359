"""Every method: golden figures of the published code, closed forms, bad input, and its place in the objective.

The golden figures (golden_methods.json) are values and directional derivatives that the public implementations gave for
the features and weights of golden.py, in float64: RepDistiller's for kd to crd, the authors' for rrd, mdistiller's for
dkd, and the papers' own repositories for dist and lskd. Ours agreed to 3e-15 of each figure; crd to 4e-9, where the
public code rounds its temperature to single precision, and dist to 8e-9, where it adds its epsilon to the denominator.
"""

import json
from pathlib import Path

import golden
import pytest
import torch
import torch.nn.functional as F

from dcd_utils import losses, models
from dcd_utils.losses.at import attention
from dcd_utils.losses.crd import CRDLoss
from dcd_utils.losses.fsp import flow
from dcd_utils.losses.rkd import angles, distances
from dcd_utils.losses.rrd import RRDLoss

GOLDEN = json.loads((Path(__file__).parent / "golden_methods.json").read_text(encoding="utf-8"))
SMALL = {"rrd": {"queue_size": 16}, "crd": {"negatives": 12}}
EVERY = [name for name in losses.names() if name != "dcd"]


def run(method, sizes="equal sizes"):
    loss, student, teacher, besides = golden.case(method, sizes, **SMALL.get(method, {}))
    reads = losses.METHODS[method].reads
    return loss, student, loss(getattr(student, reads), getattr(teacher, reads), **besides)


@pytest.mark.parametrize("case", GOLDEN)
def test_values_and_gradients_are_those_of_the_published_code(case):
    method, sizes = case.split(", ")
    _, student, value = run(method, sizes)
    found = golden.figures(value, golden.inputs_of(method, student))
    assert found == pytest.approx(GOLDEN[case], rel=2e-8, abs=1e-11)


def test_every_method_of_a_table_has_golden_figures():
    # dcd is checked against its formulas, and once against the authors' code, in test_dcd_loss.py
    tables = {"kd", "fitnet", "at", "sp", "cc", "vid", "rkd", "pkt", "ab", "ft", "fsp", "nst", "crd", "rrd"}
    tables |= {"dkd", "dist", "lskd"}
    assert {case.split(", ")[0] for case in GOLDEN} >= tables and tables <= set(EVERY)


@pytest.mark.parametrize("method", losses.names())
@pytest.mark.parametrize("follower", ["", "+kd", "+lskd"])
def test_every_method_in_the_objective_gives_a_finite_loss_and_a_gradient(method, follower):
    if follower == f"+{method}":
        pytest.skip("not with itself")
    sizes = "equal channels" if method == "fsp" else "equal sizes"
    loss, student, teacher, _ = golden.case(method, sizes, **SMALL.get(method, {}))
    train_labels = torch.arange(golden.IMAGES) % golden.CLASSES
    options = SMALL.get(method, {})
    objective = losses.objective(method + follower, student, teacher, train_labels=train_labels, **options).double()
    total, terms = objective(student, teacher, torch.arange(golden.BATCH) % golden.CLASSES, torch.arange(golden.BATCH))
    total.backward()
    assert total.isfinite() and all(term.isfinite() for term in terms.values())
    assert student.logits.grad.abs().sum() > 0
    own = losses.METHODS[method]
    if own.weight:
        read = getattr(student, own.reads)
        assert sum(
            part.grad.abs().sum() for part in (read if isinstance(read, list) else [read]) if part.grad is not None
        )
        assert method in terms
    assert objective.weights["classification"] == (1.0 if follower else own.classification)
    for tensor in (teacher.pooled, teacher.logits, *teacher.maps):
        assert tensor.grad is None


@pytest.mark.parametrize("method", EVERY)
def test_half_precision_features_are_widened(method):
    sizes = "equal channels" if method == "fsp" else "equal sizes"
    _, student, teacher, _ = golden.case(method, sizes, **SMALL.get(method, {}))
    labels = torch.arange(golden.IMAGES) % golden.CLASSES
    objective = losses.objective(method, student, teacher, train_labels=labels, **SMALL.get(method, {})).float()

    def narrow(features):
        maps = [map.detach().bfloat16() for map in features.maps]
        return type(features)(maps, features.pooled.detach().bfloat16(), features.logits.detach().bfloat16())

    with torch.autocast("cpu", torch.bfloat16):
        total, _ = objective(narrow(student), narrow(teacher), labels[: golden.BATCH], torch.arange(golden.BATCH))
    assert total.dtype == torch.float32 and total.isfinite()


@pytest.mark.parametrize("method", ["kd", "at", "sp", "rkd", "pkt", "nst", "dist", "lskd"])
def test_equal_networks_have_nothing_to_learn(method):
    student = golden.features("student", golden.STUDENT, 7)
    loss = losses.objective(method, student, student).losses[method]
    reads = getattr(student, losses.METHODS[method].reads)
    assert loss(reads, reads).item() == pytest.approx(0, abs=1e-9)


def test_dkd_with_equal_weights_is_not_kd_but_its_parts_add_up_to_it():
    _, student, teacher, besides = golden.case("dkd")
    labels, T = besides["labels"], 4.0
    sure = losses.DKDLoss(1.0, 0.0, T)(student.logits, teacher.logits, labels)
    # KD = TCKD + (1 - p_label of the teacher) * NCKD, image by image (arXiv:2203.08679, eq. 5)
    others = torch.stack(
        [
            losses.DKDLoss(0.0, 1.0, T)(student.logits[i : i + 1], teacher.logits[i : i + 1], labels[i : i + 1])
            for i in range(golden.BATCH)
        ]
    )
    doubt = 1 - (teacher.logits / T).softmax(1).gather(1, labels[:, None])[:, 0]
    kd = losses.KDLoss(T)(student.logits, teacher.logits)
    assert (sure + (doubt * others).mean()).item() == pytest.approx(kd.item(), rel=1e-9)


def test_lskd_ignores_shift_and_size_of_the_logits():
    _, student, teacher, _ = golden.case("lskd")
    loss = losses.LSKDLoss()
    moved = loss(7 * student.logits + 3, teacher.logits)
    assert moved.item() == pytest.approx(loss(student.logits, teacher.logits).item(), rel=1e-5)


def test_pieces_by_hand():
    map = torch.tensor([[[[3.0, 0.0]], [[0.0, 4.0]]]])
    assert attention(map)[0].tolist() == pytest.approx([9 / 337**0.5, 16 / 337**0.5])
    assert flow(map, map)[0].tolist() == [[4.5, 0.0], [0.0, 8.0]]
    line = torch.tensor([[0.0], [1.0], [3.0]])
    assert distances(line).tolist() == [pytest.approx(row) for row in ([0, 0.5, 1.5], [0.5, 0, 1], [1.5, 1, 0])]
    assert angles(line)[1, 0, 2].item() == -1


class TestCRD:
    def labels(self):
        return torch.tensor([0, 1, 2, 0, 1, 2, 2, 0])

    def test_negatives_come_from_other_classes_and_every_such_image_is_drawn(self):
        loss = CRDLoss(3, 3, self.labels(), negatives=400)
        drawn = loss.draw(torch.arange(8))
        for index in range(8):
            others = (self.labels() != self.labels()[index]).nonzero().flatten().tolist()
            assert sorted(set(drawn[index].tolist())) == others

    def test_the_stream_of_negatives_goes_on_after_loading(self):
        torch.manual_seed(1)
        first = CRDLoss(3, 3, self.labels(), negatives=6)
        indices = torch.arange(4)
        first.draw(indices)
        second = CRDLoss(3, 3, self.labels(), negatives=6)
        second.load_state_dict(first.state_dict())
        assert torch.equal(first.draw(indices), second.draw(indices))
        assert not torch.equal(first.draw(indices), second.draw(indices + 1))

    def test_eval_mode_leaves_the_banks(self):
        loss = CRDLoss(3, 3, self.labels(), negatives=6).eval()
        before = loss.student_bank.clone()
        loss(torch.randn(4, 3), torch.randn(4, 3), indices=torch.arange(4))
        assert torch.equal(before, loss.student_bank) and loss.student_constant == 0
        loss.train()(torch.randn(4, 3), torch.randn(4, 3), indices=torch.arange(4))
        assert not torch.equal(before[:4], loss.student_bank[:4]) and torch.equal(before[4:], loss.student_bank[4:])
        assert loss.student_bank[:4].norm(dim=1).tolist() == pytest.approx([1] * 4)

    def test_one_class_and_missing_indices_are_refused(self):
        with pytest.raises(ValueError, match="one class only"):
            CRDLoss(3, 3, torch.zeros(5, dtype=torch.int64))
        with pytest.raises(ValueError, match="without indices"):
            CRDLoss(3, 3, self.labels())(torch.randn(4, 3), torch.randn(4, 3))
        features = golden.features("student", golden.STUDENT, 7)
        with pytest.raises(ValueError, match="pass train_labels="):
            losses.objective("crd", features, features)


class TestRRD:
    def test_the_queue_wraps_around_whatever_the_batch(self):
        loss = RRDLoss(3, 3, embed_dim=4, queue_size=5)
        seen = []
        for batch in (2, 2, 2, 3):
            teacher = torch.randn(batch, 3)
            loss(torch.randn(batch, 3), teacher)
            seen += F.normalize(loss.embed_teacher(teacher), dim=1).detach().unbind()
        assert loss.next == 9 % 5
        expected = torch.stack([seen[index + 5 if index < 4 else index] for index in range(5)])
        torch.testing.assert_close(loss.queue, expected)
        assert loss.queue.norm(dim=1).tolist() == pytest.approx([1] * 5)

    def test_eval_mode_leaves_the_queue_and_a_short_queue_is_refused(self):
        loss = RRDLoss(3, 3, queue_size=4).eval()
        before = loss.queue.clone()
        loss(torch.randn(4, 3), torch.randn(4, 3))
        assert torch.equal(before, loss.queue)
        with pytest.raises(ValueError, match="queue holds 4 embeddings, the batch 5"):
            loss.train()(torch.randn(5, 3), torch.randn(5, 3))

    def test_the_teachers_map_gets_no_gradient(self):
        loss = RRDLoss(3, 3, queue_size=8)
        loss(torch.randn(4, 3), torch.randn(4, 3)).backward()
        assert loss.embed_teacher.weight.grad is None and loss.embed_student.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("method", "change", "message"),
    [
        ("fsp", {"maps": [(5, 16), (5, 16), (6, 8), (8, 4)]}, "fsp compares channel by channel"),
        ("fitnet", {"maps": [(4, 64), (4, 64), (6, 64), (8, 64)]}, "student's map is 8x8, the teacher's 64x64"),
        ("ab", {"maps": [(4, 64), (4, 64), (6, 64), (8, 64)]}, "must be half as large"),
        ("at", {"maps": []}, "shows 4 maps, the teacher 0"),
        ("ft", {"options": {"rate": 0.01}}, "no factor is left"),
        ("fitnet", {"options": {"hint": 9}}, "stages 1 to 3"),
        ("dkd", {"options": {"temperature": 0}}, "temperature=0"),
        ("dist", {"options": {"temperature": -1}}, "temperature=-1"),
    ],
)
def test_features_and_settings_that_cannot_work_are_named(method, change, message):
    student = golden.features("student", golden.STUDENT, 7)
    teacher = golden.features("teacher", change.get("maps", golden.STUDENT), 9)
    with pytest.raises(ValueError, match=message):
        objective = losses.objective(method, student, teacher, **change.get("options", {}))
        objective(student, teacher, torch.arange(golden.BATCH) % golden.CLASSES)


def test_networks_of_unequal_depth_are_paired_from_the_front():
    student = golden.features("student", golden.STUDENT, 7)
    teacher = golden.features("teacher", [(6, 32), (6, 32), (6, 16), (8, 8), (10, 4)], 9)
    pairs = losses.shared.pair_stages(student.maps, teacher.maps)
    assert [(own.shape[2], target.shape[2]) for own, target in pairs] == [(16, 32), (8, 16), (4, 8)]
    hint = losses.objective("fitnet", student, teacher).losses["fitnet"]
    assert hint.regressor.conv.out_channels == 6, "stage 2 of both, as published"


@pytest.mark.parametrize("method", ["fitnet", "ab", "at", "nst", "vid", "sp"])
def test_methods_that_read_maps_work_between_resnet20_and_mobilenet(method):
    pair = [models.create(name, 10, seed=0) for name in ("MobileNetV2", "resnet20")]
    images = torch.rand(4, 3, 32, 32)
    student, teacher = (network.features(images) for network in pair)
    loss, _ = losses.objective(method, student, teacher)(student, teacher, torch.arange(4))
    assert loss.isfinite()


def test_names_and_fields_that_cannot_be_registered():
    def build(student, teacher):
        return torch.nn.MSELoss()

    with pytest.raises(ValueError, match="exists already"):
        losses.register(losses.Method("kd", build, "logits", 1.0))
    wrong = ["Cosine", "a+b", "a@b", "a/b", "..", "a b", "", *losses.method.RESERVED]
    for name, reads in (*((name, "logits") for name in wrong), ("cosine", "colours")):
        with pytest.raises(ValueError, match="was given as a name|a loss reads"):
            losses.register(losses.Method(name, build, reads, 1.0))
    assert "cosine" not in losses.names()


def test_the_packages_own_methods_name_no_version():
    assert {method.version for method in losses.METHODS.values()} == {""}
    assert losses.Method("mine", torch.nn.MSELoss, "logits", 1.0, version="2").version == "2"


@pytest.mark.parametrize("method", ["cc", "crd", "rrd"])
def test_features_of_another_network_are_named(method):
    loss, student, teacher, needed = golden.case(method, **SMALL.get(method, {}))
    with pytest.raises(
        ValueError, match=rf"student features are \(8, 6\).*build {type(loss).__name__} with student_dim=6"
    ):
        loss(student.pooled[:, 1:], teacher.pooled, **needed)
    with pytest.raises(ValueError, match="8 student rows and 7 teacher rows"):
        loss(student.pooled, teacher.pooled[1:], **needed)


@pytest.mark.parametrize("method", ["at", "kd", "pkt", "fsp"])
def test_an_option_that_a_loss_does_not_have_is_refused(method):
    features = golden.features("student", golden.STUDENT, 7)
    with pytest.raises(TypeError, match="sharpness"):
        losses.objective(method, features, features, sharpness=2.0)


def test_the_example_of_the_documentation_runs():
    page = (Path(__file__).parents[2] / "docs" / "add_a_method.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in page.split("```python\n")[1:]]
    space = {}
    try:
        exec(blocks[0], space)
        assert "cosine" in losses.names()
        _, student, teacher, _ = golden.case("kd")
        objective = losses.objective("cosine+kd", student, teacher)
        total, terms = objective(student, teacher, torch.arange(golden.BATCH) % golden.CLASSES)
        expected = 1 - F.cosine_similarity(student.logits, teacher.logits, dim=1).mean()
        assert terms["cosine"].item() == pytest.approx(expected.item())
        assert total.item() == pytest.approx(
            sum(objective.weights[name] * terms[name].item() for name in objective.weights)
        )
    finally:
        losses.METHODS.pop("cosine", None)
