"""What each process of the tests of several processes does: one epoch of every method in 64-bit numbers, without batch
norm; the first one keeps all losses and gradients. Run as `python together.py FILE`, by itself or under torchrun; with
another word behind it, an epoch of shapes in 32-bit numbers instead."""

import copy
import sys

import torch
from torch import nn

from dcd_utils import data, distributed, losses, models, training
from dcd_utils.data import ImageSet
from dcd_utils.training import loop

BATCH = 12
LAST = {35: "every method", 27: ("dcd+kd", "crd", "cc")}  # the last batch has 11 (2, 3, 3, 3 of four), or 3 (all each)
OPTIONS = {"crd": {"negatives": 7}, "rrd": {"queue_size": 16}}
VARIANTS = {
    "dcd, classmates masked": ("dcd", {"mask_classmates": True}), "dcd, 4 negatives": ("dcd", {"negatives": 4}),
    "dcd+kd": ("dcd+kd", {}), **{name: (name, OPTIONS.get(name, {})) for name in losses.names()},
}  # fmt: skip


class Doubled(ImageSet):
    def batch(self, indices, views=None):
        return super().batch(indices, views).double()


def images(size):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (size, 3, 16, 16), generator=generator, dtype=torch.uint8)
    return Doubled(pixels, torch.arange(size) * 7 % 5, tuple("abcde"), (0.5,) * 3, (0.25,) * 3)


def plain(network):
    """The network in 64-bit numbers, without batch norm."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    return network.double()


class Preactivated(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def features(self, batch):
        return self.network.features(batch, preactivation=True)


def an_epoch_of_shapes():
    """The history of a student without batch norm that learns by DCD+KD, as several processes train it."""
    train, test = data.load("shapes", train_size=640, test_size=200, device="cpu")
    student, teacher = (plain(models.create("resnet8", 20, seed=seed)).float() for seed in (0, 1))
    recipe = training.QUICK.but(epochs=1, learning_rate=0.01)
    rows, start = [], loop.Step.forward

    def forward(step, *inputs):
        loss, terms, logits = start(step, *inputs)
        rows.append(distributed.summed(loss.detach().double()) / distributed.world())
        return loss, terms, logits

    loop.Step.forward = forward
    run = training.distill(student, teacher, train, test, "dcd+kd", recipe)
    return torch.stack(rows), run.rows


def passed(train, method, options, execution=None):
    """Every value and gradient of an epoch, step by step, of the method and of the stage that it begins with."""
    student, teacher = (plain(models.create("resnet8", 5, seed=seed)) for seed in (0, 1))
    with torch.no_grad():
        examples = [network.features(train.batch(torch.arange(2))) for network in (student, teacher)]
    torch.manual_seed(0)
    objective = plain(losses.objective(method, *examples, train_labels=train.labels, **options))
    found, stage = {}, objective.stage()
    for what, used in {"method": objective, **({"stage": stage[0]} if stage else {})}.items():
        used.weights = {name: weight or 1.0 for name, weight in used.weights.items()}
        networks = copy.deepcopy([student, teacher])
        if what == "stage" and stage[1].preactivation:
            networks = [Preactivated(network) for network in networks]
        recipe = training.PAPER.but(batch_size=BATCH, learning_rate=1e-3, precision="fp32")
        parts = (networks[0], used, training.FrozenTeacher(networks[1]), train, None, recipe)
        job = training.Job(*parts, **({"execution": execution} if execution else {}))
        optimizer, gradients = loop.make_optimizer(job), []
        weights = optimizer.param_groups[0]["params"]
        optimizer.register_step_pre_hook(
            lambda *_: gradients.append([None if each.grad is None else each.grad.clone() for each in weights])  # noqa: B023
        )
        row = training.train_epoch(job, optimizer, 0, distributed.wrapped(loop.Step(job)))
        state = {name: value for name, value in used.state_dict().items() if torch.is_tensor(value)}
        found[what] = row, gradients, state
    return found


if __name__ == "__main__":
    distributed.start(lambda: torch.device("cpu"))
    if sys.argv[2:]:
        results = an_epoch_of_shapes()
    else:
        kinds = [(name, size) for size, names in LAST.items() for name in VARIANTS if size == 35 or name in names]
        results = {(name, size): passed(images(size), *VARIANTS[name]) for name, size in kinds}
    if distributed.rank() == 0:
        torch.save(results, sys.argv[1])
