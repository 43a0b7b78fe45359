"""What a run is: whatever changes its result changes its config, its folder and its teacher's table; nothing else."""

import copy
import dataclasses
import functools
import inspect
import json
import sys
import types
import warnings

import pytest
import torch
from small import FAST, student
from torch import nn

from dcd_utils import files, losses, models, training
from dcd_utils.data import ImageSet
from dcd_utils.training import api
from dcd_utils.training.config import config_hash, differences, network_facts
from dcd_utils.training.runs import RunFolder

NETWORK = """
import functools, torch, torch.nn.functional as F
from torch import nn
from dcd_utils.models import Features
{before}

class Base(nn.Module):
    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.convolution, self.classifier = nn.Conv2d(3, 4, 3, 2), nn.Linear(4, 3)
        {init}

    def act(self, x):
        return x

    def features(self, images):
        grid = {call}
        pooled = grid.mean(dim=(2, 3))
        return Features([grid], pooled, self.classifier(pooled))

    def forward(self, images):
        return self.features(images).logits

{after}
"""
INNER = "self.convolution(images)"
# each with ReLU, and once more with tanh in its place
NETWORKS = {
    "module": {"init": "self.layer = nn.ReLU()", "call": f"self.layer({INNER})"},
    "functional call": {"call": f"F.relu({INNER})"},
    "method of the tensor": {"call": f"{INNER}.relu()"},
    "attribute function": {"init": "self.f = torch.relu", "call": f"self.f({INNER})"},
    "function looked up by a name": {"init": "self.f = 'relu'", "call": f"getattr(torch, self.f)({INNER})"},
    "subclass's method": {
        "call": f"self.act({INNER})",
        "after": "class Mine(Base):\n    def act(self, x):\n        return torch.relu(x)",
    },
    "base class's method": {"call": f"F.relu({INNER})", "after": "class Mine(Base):\n    pass"},
    "global constant": {"before": "KIND = 'relu'", "call": f"getattr(torch, KIND)({INNER})"},
    "global dict of settings": {
        "before": "SET = {'kind': ['relu']}",
        "call": f"getattr(torch, SET['kind'][0])({INNER})",
    },
    "global object": {
        "before": "class Tool:\n    def __init__(self): self.kind = 'relu'\ntool = Tool()",
        "call": f"getattr(torch, tool.kind)({INNER})",
    },
    "global helper": {"before": "def helper(x):\n    return torch.relu(x)", "call": f"helper({INNER})"},
    "helper of a helper": {
        "before": "def deep(x):\n    return torch.relu(x)\ndef helper(x):\n    return deep(x)",
        "call": f"[helper(x) for x in [{INNER}]][0]",
    },
    "partial": {
        "before": "def helper(f, x):\n    return f(x)\nact = functools.partial(helper, torch.relu)",
        "call": f"act({INNER})",
    },
    "closure": {
        "before": "def make(f):\n    def act(x):\n        return f(x)\n    return act\nact = make(torch.relu)",
        "call": f"act({INNER})",
    },
    "default argument": {"before": "def helper(x, f=torch.relu):\n    return f(x)", "call": f"helper({INNER})"},
    "keyword default": {"before": "def helper(x, *, f=torch.relu):\n    return f(x)", "call": f"helper({INNER})"},
    "lambda on an instance": {"init": "self.f = lambda x: torch.relu(x)", "call": f"self.f({INNER})"},
    "decorated function": {
        "before": "@functools.lru_cache\ndef kind():\n    return torch.relu",
        "call": f"kind()({INNER})",
    },
    "static method": {
        "call": f"self.act({INNER})",
        "after": "class Mine(Base):\n    @staticmethod\n    def act(x):\n        return torch.relu(x)",
    },
}
# the function that they call changes, and not a letter of their own code
IMPORTS = {
    "own module": {"before": "import own_layers", "call": f"own_layers.act({INNER})"},
    "own module, imported where it is used": {
        "before": "def helper(x):\n    import own_layers\n    return own_layers.act(x)",
        "call": f"helper({INNER})",
    },
    "function imported where it is used": {
        "before": "def helper(x):\n    from own_layers.deep import act\n    return act(x)",
        "call": f"helper({INNER})",
    },
    "module in a module": {"before": "import own_layers", "call": f"own_layers.deep.act({INNER})"},
    "module in a closure": {
        "before": "def make():\n    import own_layers\n    return lambda x: own_layers.act(x)\nact = make()",
        "call": f"act({INNER})",
    },
}


def define(source, name):
    """Run code as a notebook does, in a namespace of its own; return what it calls `name`."""
    namespace = {"__name__": "notebook"}
    exec(source, namespace)
    return namespace[name]


def network(**parts):
    parts = {"before": "", "init": "pass", "call": f"F.relu({INNER})", "after": "Mine = Base", **parts}
    return define(NETWORK.format(**parts), "Mine")()


def with_tanh(parts):
    return {key: text.replace("nn.ReLU", "nn.Tanh").replace("relu", "tanh") for key, text in parts.items()}


@pytest.fixture
def computed(tiny_sets, monkeypatch):
    """Return the config of a call of train or distill, which trains nothing."""
    monkeypatch.setattr(api, "_run", lambda job, facts, *_: facts)

    def config(student=None, teacher=None, function=None, **arguments):
        sets = {"train": tiny_sets[0], "test": tiny_sets[1], "recipe": FAST}
        if teacher is None and function is not training.distill:
            return training.train(**{"model": student or small(), **sets, **arguments})
        return training.distill(student or small(), teacher or small(1), **{**sets, **arguments})

    return config


def small(seed=0):
    return student(seed)


def tables(teacher, train):
    """The names of all tables of stored answers, once this teacher has one."""
    training.StoredTeacher(teacher, train, "fp32", 16, "file")
    return {path.name for path in (files.data_dir() / "cache").glob("*.table")}


def assert_other_runs(computed, tiny_sets, first, second):
    """Two networks are two runs, as they train alone, as students and as teachers, with two tables of answers."""
    for one, two in (
        (computed(first), computed(second)),
        (computed(first, small(1)), computed(second, small(1))),
        (computed(small(), first), computed(small(), second)),
    ):
        assert one != two and config_hash(one) != config_hash(two)
        assert RunFolder(None, one, {}).path != RunFolder(None, two, {}).path
        json.dumps([one, two])
    assert len(tables(first, tiny_sets[0])) == 1 and len(tables(second, tiny_sets[0])) == 2


@pytest.mark.parametrize("kind", NETWORKS)
def test_code_of_a_network_is_part_of_the_run(computed, tiny_sets, kind):
    first, same, second = network(**NETWORKS[kind]), network(**NETWORKS[kind]), network(**with_tanh(NETWORKS[kind]))
    images = tiny_sets[0].batch(torch.arange(2))
    assert not torch.equal(first(images), second(images)), "what is told apart does differ"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert computed(first) == computed(same)
        assert_other_runs(computed, tiny_sets, first, second)


@pytest.mark.parametrize("kind", IMPORTS)
def test_code_of_own_modules_is_part_of_the_run(computed, tiny_sets, monkeypatch, kind):
    facts, outputs = [], []
    for function in ("relu", "tanh"):
        package, deep = types.ModuleType("own_layers"), types.ModuleType("own_layers.deep")
        package.deep = deep
        for module in (package, deep):
            exec(f"import torch\ndef act(x):\n    return torch.{function}(x)", vars(module))
            monkeypatch.setitem(sys.modules, module.__name__, module)
        net = network(**IMPORTS[kind])
        outputs.append(net(tiny_sets[0].batch(torch.arange(2))))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            facts.append([computed(net), computed(net, small(1)), computed(small(), net), tables(net, tiny_sets[0])])
    assert not torch.equal(*outputs)
    assert all(one != two for one, two in zip(*facts, strict=True)) and len(facts[1][3]) == 2


def test_options_of_a_created_network_are_part_of_the_run(computed, tiny_sets):
    first, second = (
        models.create("torchvision/mobilenet_v3_small", 3, seed=0, dropout=rate).eval() for rate in (0.0, 0.9)
    )
    assert_other_runs(computed, tiny_sets, first, second)


def hooked(net):
    net.layer1.register_forward_hook(lambda module, inputs, output: output * 2)


def hooked_before(net):
    net.layer1.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,))


def gradient_hooked(net):
    net.fc.weight.register_hook(lambda gradient: gradient * 2)


def other_momentum(net):
    net.bn1.momentum = 0.5


def other_padding(net):
    net.conv1.padding_mode = "reflect"


def other_buffer(net):
    net.register_buffer("scale", torch.ones(3), persistent=False)


def patched(net):
    net.layer1.forward = lambda x: x


@pytest.mark.parametrize("change", [hooked, hooked_before, gradient_hooked, other_momentum, other_padding,
                                    other_buffer, patched])  # fmt: skip
def test_what_was_changed_after_a_network_was_made_is_part_of_the_run(computed, tiny_sets, change):
    changed = small()
    change(changed)
    assert_other_runs(computed, tiny_sets, small(), changed)


def test_values_of_a_buffer_that_is_not_saved_are_part_of_the_run(computed, tiny_sets):
    first, second = small(), small()
    first.register_buffer("scale", torch.ones(3), persistent=False)
    second.register_buffer("scale", torch.zeros(3), persistent=False)
    assert_other_runs(computed, tiny_sets, first, second)


def test_layers_that_share_their_weights_are_another_run_than_equal_ones(computed, tiny_sets):
    def twins():
        net = network(init="self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)")
        net.b.load_state_dict(net.a.state_dict())
        return net

    first, second = twins(), twins()
    second.load_state_dict(first.state_dict())
    second.b.weight = second.a.weight
    assert network_facts(first, 3)["weights"] == network_facts(second, 3)["weights"]
    assert computed(first) != computed(second)


def test_a_frozen_layer_is_another_run_of_a_student_and_the_same_teacher(computed):
    frozen = small()
    frozen.layer1.requires_grad_(False)
    assert computed(frozen)["network"]["frozen"] and computed(frozen) != computed(small())
    assert computed(small(1), frozen) == computed(small(1), small())


# Losses, recipes, images

LOSS = """
import functools, torch
from torch import nn
{before}
class Mine(nn.Module):
    def __init__(self, factor=None):
        super().__init__()
        self.factor = factor

    def forward(self, student, teacher):
        return {factor} * (student - teacher).square().mean()

build = {build}
"""
LOSSES = {
    "constant": {"factor": "1.0"},
    "global": {"before": "FACTOR = 1.0", "factor": "FACTOR"},
    "attribute that build sets": {"build": "lambda student, teacher: Mine(1.0)"},
    "attribute that a partial sets": {
        "before": "def make(student, teacher, factor):\n    return Mine(factor)",
        "build": "functools.partial(make, factor=1.0)",
    },
    "helper": {"before": "def helper():\n    return 1.0", "factor": "helper()"},
    "built by a function of the package": {
        "before": "from dcd_utils.losses.method import unsized",
        "factor": "1.0",
        "build": "unsized(Mine)",
    },
}


def method(name="mine", **parts):
    parts = {"before": "", "factor": "self.factor", "build": "lambda student, teacher: Mine(2.0)", **parts}
    return losses.Method(name, define(LOSS.format(**parts), "build"), "logits", 1.0)


@pytest.fixture
def registered(computed):
    """Return the config of a run with a method of one's own."""

    def config(method, spelled=None, **choices):
        losses.register(method, **choices)
        try:
            return computed(small(), small(1), method=spelled or method.name)
        finally:
            del losses.METHODS[method.name]

    return config


@pytest.mark.parametrize("kind", LOSSES)
def test_code_and_settings_of_a_loss_are_part_of_the_run(registered, kind):
    first, same = registered(method(**LOSSES[kind])), registered(method(**LOSSES[kind]))
    second = registered(method(**{key: text.replace("1.0", "-5.0") for key, text in LOSSES[kind].items()}))
    assert first == same and first != second
    assert RunFolder(None, first, {}).path != RunFolder(None, second, {}).path
    assert differences(first, second) == "code.mine: its code was changed"


@dataclasses.dataclass(frozen=True)
class Warm(training.Recipe):
    """A recipe with a schedule of its own."""

    floor: float = 0.01

    def learning_rate_at(self, step, steps_per_epoch):
        return max(self.floor, super().learning_rate_at(step, steps_per_epoch))


class Warmer(Warm):
    def learning_rate_at(self, step, steps_per_epoch):
        return 2 * super().learning_rate_at(step, steps_per_epoch)


class Grey(ImageSet):
    """Images without their colours."""

    def normalize(self, images):
        return super().normalize(images).mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)


def test_a_subclass_of_recipe_or_image_set_is_another_run(computed, tiny_sets):
    settings = dataclasses.asdict(FAST)
    recipes = [FAST, Warm(**settings), Warm(**settings, floor=0.02), Warmer(**settings)]
    assert len({config_hash(computed(recipe=recipe)) for recipe in recipes}) == 4
    fields = {field.name: getattr(tiny_sets[0], field.name) for field in dataclasses.fields(ImageSet) if field.init}
    assert computed(train=Grey(**fields)) != computed() == computed(train=ImageSet(**fields))
    assert computed(test=Grey(**fields)) != computed(test=ImageSet(**fields))
    assert computed(small(), small(1), train=Grey(**fields)) != computed(small(), small(1))


# The same run


def test_what_changes_nothing_is_the_same_run(computed, tiny_sets):
    pair = small(), small(1)
    expected = computed(*pair)
    for same in (
        computed(*copy.deepcopy(pair)),
        computed(small(0), small(1)),
        computed(small(0).train(), small(1).train()),
        computed(small(0).to(memory_format=torch.channels_last), small(1)),
        computed(*pair, train=dataclasses.replace(tiny_sets[0], name="another name")),
        computed(*pair, cache="off"),
        computed(*pair, cache="memory"),
        computed(*pair, wait=False),
        computed(*pair, run_dir="elsewhere"),
        computed(*pair, method="DCD+KD"),
        computed(*pair, options={}),
    ):
        assert same == expected
    own = network()
    assert computed(own) == computed(copy.deepcopy(own)) == computed(network())
    library = models.create("torchvision/mobilenet_v3_small", 3, seed=0)
    assert computed(library) == computed(copy.deepcopy(library))


def test_comments_and_docstrings_are_no_part_of_the_code(computed):
    helper = "def helper(x):\n    {}\n    return torch.relu(x)"
    documented = [
        network(before=helper.format(text), call=f"helper({INNER})")
        for text in ("'''Return x.'''", "'''Return what is positive.'''", "# Return x")
    ]
    facts = [computed(net) for net in documented]
    assert facts[0] == facts[1] == facts[2]


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_version_stands_for_the_code_of_a_network(computed, role):
    def facts(version, call):
        net = network(call=call)
        net.version = version
        return computed(**{"student": small(), "teacher": small(1), role: net})

    relu, tanh = f"F.relu({INNER})", f"torch.tanh({INNER})"
    assert facts("1", relu) == facts("1", tanh) != facts("2", relu)
    assert facts("", relu) != facts("", tanh)


def test_a_version_stands_for_the_code_of_a_loss(registered):
    def facts(version, factor):
        return registered(dataclasses.replace(method(factor=factor), version=version))

    assert facts("1", "1.0") == facts("1", "-5.0") != facts("2", "1.0")


def test_what_cannot_be_looked_into_is_said_once(computed):
    class Opaque:
        __slots__ = ()

    def holding():
        net = network()
        net.secret = Opaque()
        return net

    with pytest.warns(UserWarning, match='cannot be looked into .*secret: Opaque.* an attribute version="1"') as caught:
        computed(holding()), computed(holding())
    assert len(caught) == 1


# Every parameter, one by one: a new one has to take its place here


TWO_LISTS = 'put "{}" of {} into CHANGES with two values that give two results, or into SAME if no value changes any'
CHANGES = {
    training.train: {
        "model": lambda sets: (small(0), small(1)),
        "train": lambda sets: sets,
        "test": lambda sets: sets,
        "recipe": lambda sets: (FAST, FAST.but(epochs=3)),
        "seed": lambda sets: (0, 1),
    },
    training.distill: {
        "student": lambda sets: (small(0), small(1)),
        "teacher": lambda sets: (small(1), small(2)),
        "train": lambda sets: sets,
        "test": lambda sets: sets,
        "method": lambda sets: ("dcd", "kd"),
        "recipe": lambda sets: (FAST, FAST.but(epochs=3)),
        "seed": lambda sets: (0, 1),
        "weights": lambda sets: (None, {"dcd": 2.0}),
        "options": lambda sets: (None, {"alpha": 0.25}),
    },
    models.create: {
        "name": lambda sets: ("resnet8", "resnet14"),
        "seed": lambda sets: (0, 1),
        "pretrained": lambda sets: (False, True),
        "options": lambda sets: ({}, {"norm_layer": functools.partial(nn.BatchNorm2d, eps=0.1)}),
        "num_classes": lambda sets: (3, 4),
    },
    losses.register: {"method": lambda sets: (method(factor="1.0"), method(factor="-5.0"))},
    losses.Method: {
        "build": lambda sets: (method(factor="1.0").build, method(factor="-5.0").build),
        "reads": lambda sets: ("logits", "pooled"),
        "weight": lambda sets: (1.0, 2.0),
        "classification": lambda sets: (1.0, 2.0),
        "beside": lambda sets: (1.0, 2.0),
        "needs": lambda sets: ((), ("labels",)),
        "version": lambda sets: ("1", "2"),
        "name": lambda sets: ("mine", "other"),
    },
    training.Recipe: {
        "epochs": lambda sets: (2, 3),
        "batch_size": lambda sets: (16, 8),
        "learning_rate": lambda sets: (0.1, 0.2),
        "schedule": lambda sets: ("steps", "one_cycle"),
        "milestones": lambda sets: ((1,), (2,)),
        "decay": lambda sets: (0.1, 0.2),
        "momentum": lambda sets: (0.9, 0.8),
        "nesterov": lambda sets: (False, True),
        "weight_decay": lambda sets: (0.0, 0.1),
        "precision": lambda sets: ("fp32", "bf16"),
    },
}
SAME = {
    training.train: {
        "run_dir": lambda sets: (None, "elsewhere"), "wait": lambda sets: (True, False),
        "retrain": lambda sets: (False, True),
        "execution": lambda sets: (training.Execution(), training.Execution(micro_batch=4)),
    },
    training.distill: {
        "run_dir": lambda sets: (None, "elsewhere"), "wait": lambda sets: (True, False),
        "retrain": lambda sets: (False, True), "cache": lambda sets: ("auto", "off"),
        "execution": lambda sets: (training.Execution(), training.Execution(micro_batch=4)),
    },
    models.create: {},
    losses.register: {"replace": lambda sets: (False, True)},
    losses.Method: {"source": lambda sets: ("", "A paper, 2026"), "spans": lambda sets: ("batch", "image")},
    training.Recipe: {},
}


@pytest.mark.parametrize("function", CHANGES)
def test_every_parameter_says_whether_it_changes_the_result(function):
    parameters = set(inspect.signature(function).parameters)
    changes, same = set(CHANGES[function]), set(SAME[function])
    for name in sorted(parameters - changes - same):
        pytest.fail(TWO_LISTS.format(name, function.__name__))
    assert changes | same == parameters, "a parameter that is gone stands in a list"
    assert not changes & same, "a parameter stands in both lists"


@pytest.mark.parametrize(
    ("function", "name", "changes"),
    [(function, name, table is CHANGES) for table in (CHANGES, SAME) for function in table for name in table[function]],
)
def test_a_parameter_changes_the_config_if_it_changes_the_result(
    computed, registered, tiny_sets, monkeypatch, function, name, changes
):
    def facts(value):
        if function is training.train:
            return computed(**{"student" if name == "model" else name: value})
        if function is training.distill:
            return computed(**{"student": small(), "teacher": small(1), "function": function, name: value})
        if function is training.Recipe:
            return computed(recipe=dataclasses.replace(FAST, **{name: value}))
        if function is losses.register:
            return registered(value) if name == "method" else registered(method(), replace=value)
        if function is losses.Method:
            changed = dataclasses.replace(method(factor="1.0"), beside=1.0)
            changed = dataclasses.replace(changed, **{name: value})
            return registered(changed, f"dcd+{changed.name}" if name == "beside" else None)
        return created(value)

    def created(value):
        arguments = {"name": "torchvision/resnet18", "num_classes": 3, "seed": 0} | (
            value if name == "options" else {name: value}
        )
        made = models.create(**arguments)
        train, test = (
            dataclasses.replace(part, classes=tuple("abcd")[: arguments["num_classes"]]) for part in tiny_sets
        )
        return computed(made, train=train, test=test)

    if name == "pretrained":  # nothing is downloaded here: the library's weights are those of another seed
        import torchvision

        original = torchvision.models.get_model

        def get_model(name, weights=None, **options):
            torch.manual_seed(5 if weights else 6)
            return original(name, **options)

        monkeypatch.setattr(torchvision.models, "get_model", get_model)
    first, second = (CHANGES if changes else SAME)[function][name](tiny_sets)
    assert (facts(first) != facts(second)) == changes
