"""Recorded steps, with a recorder for the CPU that forgets Python's numbers as a CUDA graph does."""

import contextlib
import copy
import warnings

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from dcd_utils import data, losses, models, training
from dcd_utils.training import graph, loop
from dcd_utils.training.batches import draw
from dcd_utils.training.graph import RecordedStep
from dcd_utils.training.loop import make_optimizer, train_step

RECIPE = training.QUICK.but(epochs=2, batch_size=16, precision="fp32")
# what makes the host wait for a GPU, or copies from the host: not allowed while a graph is recorded
FORBIDDEN = ("_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "_unique2", "is_nonzero")
PICKS = ("index", "index_put", "index_put_", "_index_put_impl_")  # by a mask: the host must learn how many it picks


class Tape(TorchDispatchMode):
    """Keeps each operation with its very arguments, numbers included; a replay repeats them in place."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        name = function.overloadpacket.__name__
        masks = [each for each in tree_leaves(arguments[1]) if each.dtype == torch.bool] if name in PICKS else []
        if name in FORBIDDEN or masks:
            raise RuntimeError(f"operation not permitted when stream is capturing: {function}")
        result = function(*arguments, **(named or {}))
        kept = tree_map_only(torch.Tensor, torch.Tensor.detach, (arguments, named or {}, result))
        self.calls.append((function, *kept))
        return result

    @torch.no_grad()
    def replay(self):
        for function, arguments, named, result in self.calls:
            pairs = zip(tree_leaves(result), tree_leaves(function(*arguments, **named)), strict=True)
            for place, value in pairs:
                if isinstance(place, torch.Tensor) and place.data_ptr() != value.data_ptr():
                    place.copy_(value)


class StandIn:
    """What `graph._Recorder` does on a GPU."""

    def __init__(self, device):
        self.aside = lambda run: run()

    def without_waiting(self, run):
        with Tape():
            run()

    def record(self, run):
        tape = Tape()
        with tape:
            result = run()
        return tape.replay, result


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(graph, "_Recorder", StandIn)


@pytest.fixture(scope="module")
def images():
    return data.load("shapes", device="cpu", train_size=16 * 8 + 5, test_size=20)[0]


def train_both(method, images, cached=False, loss=None, epochs=RECIPE.epochs):
    """The same training by plain steps and by recorded ones: (plain, recorded) as (student, objective, rows, step)."""
    found = []
    for step in (train_step, RecordedStep(train_step)):
        torch.manual_seed(0)
        student, teacher = (models.create("resnet8", 20, seed=seed) for seed in (0, 1))
        example = [each.eval().features(images.batch(torch.arange(2))) for each in (student, teacher)]
        objective = loss() if loss else losses.objective(method, *example, train_labels=images.labels)
        optimizer = make_optimizer(student, objective, RECIPE, images.device)
        guide = training.FrozenTeacher(teacher, RECIPE.batch_size)
        if cached:
            guide = training.CachedTeacher(teacher, images, "fp32", RECIPE.batch_size, "memory")
        rows = []
        for epoch in range(epochs):
            guide.prepare(*draw(len(images), 0, epoch))
            rows.append(loop.train_epoch(student, guide, objective, optimizer, images, RECIPE, 0, epoch, step))
        found.append((student, objective, rows, step))
    return found


def assert_same_training(plain, other):
    assert other[2] == [pytest.approx(row, rel=2e-3, abs=1e-5) for row in plain[2]]
    for mine, theirs in zip(plain[:2], other[:2], strict=True):
        for (name, a), b in zip(mine.state_dict().items(), theirs.state_dict().values(), strict=True):
            if isinstance(a, torch.Tensor):
                assert torch.allclose(a.double(), b.double(), rtol=1e-2, atol=1e-3), name
            else:
                assert a == b, name


METHODS = [name for name in losses.names() if name != "crd"]


@pytest.mark.parametrize("method", [*METHODS, "dcd+kd"])
def test_a_recorded_step_trains_as_the_step_does(method, images):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain, other = train_both(method, images)
    step = other[3]
    assert step.problem is None and step.replayed == 2 * 8 - 3 and step.replay is not None
    assert_same_training(plain, other)


def test_a_stored_teacher_is_read_in_its_place(images):
    plain, other = train_both("dcd+kd", images, cached=True)
    assert other[3].problem is None
    assert_same_training(plain, other)
    live, _ = train_both("dcd+kd", images, epochs=1)
    assert plain[2][0] == live[2][0]


class Waiting(torch.nn.Module):
    """A loss that asks the device for a number."""

    def forward(self, student, teacher):
        return (student - teacher).square().mean() * min(1.0, student.detach().abs().max().item())


class Counting(torch.nn.Module):
    """A loss that counts its calls in Python, which a recording cannot see."""

    calls = 0

    def forward(self, student, teacher):
        self.calls += 1
        return (student - teacher).square().mean() * (1 + self.calls / 1000)


class Keeping(Counting):
    """One whose count is in checkpoints."""

    def get_extra_state(self):
        return self.calls

    def set_extra_state(self, state):
        self.calls = state


class Hiding(torch.nn.Module):
    """One that counts where nobody looks, and changes late."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, student, teacher):
        self.calls.append(1)
        return (student - teacher).square().mean() * (1 if len(self.calls) < 9 else 5)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Waiting, r"it cannot be recorded \(operation not permitted"),
        (Counting, "a loss counts in Python"),
        (Keeping, "a loss counts in Python"),
        (Hiding, r'its replay does something else \(by .* in "'),
    ],
)
def test_what_cannot_be_recorded_runs_as_it_is(images, module, words):
    def loss():
        return losses.Objective(1.0, {"mine": (1.0, "logits", module())})

    with pytest.warns(UserWarning, match="runs as it is, not as a CUDA graph: " + words) as found:
        plain, other = train_both("", images, loss=loss)
    assert len(found) == 1 and other[3].replay is None
    if module is not Hiding:  # which is found out late
        assert_same_training(plain, other)
        assert all(torch.equal(a, b) for a, b in zip(plain[0].parameters(), other[0].parameters(), strict=True))


def test_random_numbers_of_a_network_are_drawn_once(images):
    """A student with dropout: what the tries before the real step drew is put back."""
    student = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(3 * 32 * 32, 20))
    student.features = lambda batch: models.Features([], None, student(batch))
    found = []
    for step in (train_step, RecordedStep(train_step)):
        torch.manual_seed(0)
        torch.nn.init.zeros_(student[2].weight), torch.nn.init.zeros_(student[2].bias)
        optimizer = make_optimizer(student, losses.Objective(), RECIPE, images.device)
        loop.train_epoch(student, loop.no_teacher, losses.Objective(), optimizer, images, RECIPE, 0, 0, step)
        found.append(student[2].weight.detach().clone())
    assert step.problem is None and torch.allclose(*found, atol=1e-5)


def test_crd_draws_the_same_negatives(images):
    with pytest.warns(UserWarning, match="not as a CUDA graph: a loss counts in Python"):
        plain, other = train_both("crd", images)
    assert_same_training(plain, other)


def test_other_sizes_and_what_follows_them(images):
    """The rest of an epoch is no replay; the learning rate reaches the replays after it."""
    step, taken = RecordedStep(train_step), []
    original = step.step
    step.step = lambda *arguments: taken.append(len(arguments[-1])) or original(*arguments)
    student = models.create("resnet8", 20, seed=0)
    objective = losses.Objective()
    optimizer = make_optimizer(student, objective, RECIPE, images.device)
    for epoch in range(2):
        loop.train_epoch(student, loop.no_teacher, objective, optimizer, images, RECIPE, 0, epoch, step)
    # three to warm up, one tried and recorded, four of five checked, the rest; one more of eight checked, the rest
    assert taken == [16] * (graph.WARM_UP + 2 + 4) + [5] + [16] + [5]
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(RECIPE.learning_rate_at(17, 9))
    before = copy.deepcopy(student.state_dict())
    loop.set_learning_rate(optimizer, 0.0)
    optimizer.param_groups[0]["momentum"] = 0.0  # a number of Python's: the recording keeps its own
    few = images.subset(range(16))
    batch = few.batch(torch.arange(16)), few.labels, torch.arange(16)
    step(student, loop.no_teacher, objective, optimizer, RECIPE, *batch)
    for name, value in student.named_parameters():
        assert torch.equal(value, before[name])


def test_only_a_gpu_and_only_when_asked(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    monkeypatch.delenv("DCD_CUDA_GRAPH", raising=False)
    assert not graph.wanted(gpu)
    monkeypatch.setenv("DCD_CUDA_GRAPH", "1")
    assert graph.wanted(gpu) and not graph.wanted(cpu)
    monkeypatch.setenv("DCD_CUDA_GRAPH", "yes")
    with pytest.raises(ValueError, match='DCD_CUDA_GRAPH="yes" was set: 1 records'):
        graph.wanted(cpu)


def test_fit_resumes_a_recorded_run(images, tmp_path, monkeypatch):
    """As on a GPU: the checkpoint holds the rate as a tensor, and training goes on from it, recorded or not."""
    monkeypatch.setattr(graph, "wanted", lambda device: True)
    recipe = RECIPE.but(epochs=3)

    def go(state=None, stop=99):
        states = []

        def on_epoch(found):
            states.append(copy.deepcopy(found))
            if len(found["history"]) == stop:
                raise KeyboardInterrupt

        student, objective = models.create("resnet8", 20, seed=0), losses.Objective()
        with contextlib.suppress(KeyboardInterrupt):
            loop.fit(student, loop.no_teacher, objective, images, None, recipe, 0, state, on_epoch)
        return student, states

    whole, _ = go()
    _, states = go(stop=2)
    torch.save(states[-1], tmp_path / "checkpoint.pt")
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    again, rest = go(copy.deepcopy(state))
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-4)
    assert isinstance(rest[-1]["history"][-1]["learning_rate"], float)
    monkeypatch.setattr(graph, "wanted", lambda device: False)
    plain, _ = go(state)
    for a, b in zip(whole.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-4)
