"""The one training loop: the teacher and every student pass through it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcd_utils import runtime
from dcd_utils.data import ImageSet
from dcd_utils.losses import Objective
from dcd_utils.models import Features
from dcd_utils.training import graph
from dcd_utils.training.batches import batches, draw, steps_per_epoch
from dcd_utils.training.graph import RecordedStep
from dcd_utils.training.recipe import Recipe


class NonFiniteLoss(RuntimeError):
    """A loss term became infinite or not a number; names the term, the epoch and the step."""


def autocast(device: torch.device, precision: str):
    """The context for forward passes: bfloat16 autocast, or nothing for "fp32"."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def resolve_precision(precision: str, device: torch.device, network: nn.Module | None = None) -> str:
    """What "auto" means for a network on this device: "bf16" where it is native and pays, else "fp32".

    On a CPU it does not pay for convolutions in groups: MobileNetV2 trains at half its fp32 speed, ShuffleV2 at three
    quarters.

    Raises:
        ValueError: "bf16" on a GPU that has no such arithmetic. (A CPU without it emulates it: right, but slower than
            fp32.)
    """
    native = runtime.bf16_pays(device)
    if precision == "auto":
        return "bf16" if native and not (device.type == "cpu" and _has_groups(network)) else "fp32"
    if precision == "bf16" and device.type == "cuda" and not native:
        raise ValueError(
            f'precision="bf16" was given, but {torch.cuda.get_device_name(device)} does not compute in bfloat16: '
            'choose precision="fp32", or "auto", which finds out'
        )
    return precision


def _has_groups(network: nn.Module | None) -> bool:
    return network is not None and any(getattr(module, "groups", 1) > 1 for module in network.modules())


class FrozenTeacher:
    """A network in eval mode that answers without gradients.

    Args:
        network: the teacher.
        batch_size: a shorter batch is filled up to it, since the last bits of an answer depend on the size of the
            batch that it was computed in. None: as it comes.
    """

    def __init__(self, network: nn.Module, batch_size: int | None = None):
        self.network = network.eval().requires_grad_(False)
        self.batch_size = batch_size

    def prepare(self, indices: Tensor, views: Tensor) -> None:
        """Told before an epoch which images it will be asked about, and in which views: both [N]."""

    @torch.no_grad()
    def __call__(self, images: Tensor, indices: Tensor | None = None) -> Features:
        """The answers to images [B, 3, H, W], which are those at `indices` [B] of the training images."""
        count, missing = len(images), (self.batch_size or 0) - len(images)
        if missing <= 0:
            return self.network.features(images)
        # this keeps the layout in memory, which decides the last bits as well
        maps, pooled, logits = self.network.features(F.pad(images, (0, 0, 0, 0, 0, 0, 0, missing)))
        return Features([each[:count] for each in maps], pooled[:count], logits[:count])


class Preactivated(nn.Module):
    """A network that shows its maps before the last ReLU of each stage; it shares the network's weights."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def features(self, images: Tensor) -> Features:
        return self.network.features(images, preactivation=True)


def no_teacher(images: Tensor, indices: Tensor | None = None) -> None:
    """Stands where a teacher would, when a network learns from labels alone."""


def make_optimizer(
    model: nn.Module, objective: Objective, recipe: Recipe, device: torch.device, plain: bool = False
) -> torch.optim.SGD:
    """SGD over the network and whatever the losses learn (DCD: both linear maps, the scale and the bias)."""
    return torch.optim.SGD(
        [*model.parameters(), *objective.parameters()],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov,
        # one kernel for all weights; the update is the same but for its last bits
        fused=True if device.type in ("cuda", "cpu") and not plain else None,
        foreach=False if plain else None,
    )


def train_step(
    model: nn.Module,
    teacher: Callable[[Tensor, Tensor], Features | None],
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    images: Tensor,
    labels: Tensor,
    indices: Tensor,
) -> tuple[Tensor, dict[str, Tensor]]:
    """One step of gradient descent on a batch; returns the logits [B, classes] and the terms, all detached."""
    with autocast(images.device, recipe.precision):
        target = teacher(images, indices)
        output = model.features(images)
    loss, terms = objective(output, target, labels, indices)

    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return output.logits.detach(), {"train_loss": loss.detach(), **terms}


def train_epoch(
    model: nn.Module,
    teacher: Callable[[Tensor, Tensor], Features | None],
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    train: ImageSet,
    recipe: Recipe,
    seed: int,
    epoch: int,
    step: Callable = train_step,
) -> dict[str, float]:
    """One pass over the training images; returns the epoch's mean of every term, and the training accuracy in %.

    Args:
        step: what is done with a batch; a `RecordedStep` does the same as `train_step`.

    Raises:
        NonFiniteLoss: a term stopped being finite.
    """
    ledger, steps = Ledger(), steps_per_epoch(len(train), recipe.batch_size)
    model.train()
    for number, (indices, views) in enumerate(batches(len(train), recipe.batch_size, seed, epoch, train.device)):
        set_learning_rate(optimizer, recipe.learning_rate_at(epoch * steps + number, steps))
        images, labels = train.batch(indices, views), train.labels[indices]
        logits, terms = step(model, teacher, objective, optimizer, recipe, images, labels, indices)
        ledger.add(labels, logits, terms)
    return ledger.close(epoch)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    group = optimizer.param_groups[0]
    if isinstance(group["lr"], Tensor):  # a recorded step reads it on the device
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


class Ledger:
    """Collects a value per term and step on the device, and reads them once, at the end of the epoch."""

    def __init__(self):
        self.rows: list[Tensor] = []
        self.sizes: list[int] = []
        self.names: list[str] = []

    def add(self, labels: Tensor, logits: Tensor, terms: dict[str, Tensor]) -> None:
        correct = (logits.argmax(dim=1) == labels).float().mean() * 100
        self.names = ["train_accuracy", *terms]
        self.rows.append(torch.stack([correct, *(term.float() for term in terms.values())]))
        self.sizes.append(len(labels))

    def close(self, epoch: int) -> dict[str, float]:
        rows = torch.stack(self.rows).cpu().double()
        bad = (~rows.isfinite()).nonzero()
        if len(bad):
            step, column = bad[0].tolist()
            # the sum is the first column but never the cause: name the term that broke it, if one did
            causes = [c for s, c in bad.tolist() if s == step and self.names[c] != "train_loss"]
            name = self.names[causes[0] if causes else column]
            raise NonFiniteLoss(
                f'the loss term "{name}" is {rows[step, causes[0] if causes else column].item()} in epoch {epoch + 1}, '
                f'step {step + 1} of {len(rows)}: lower the learning rate or use precision="fp32"'
            )
        weights = torch.tensor(self.sizes, dtype=torch.float64)
        means = (weights @ rows) / weights.sum()
        return dict(zip(self.names, means.tolist(), strict=True))


@torch.no_grad()
def evaluate(
    model: nn.Module, image_set: ImageSet, batch_size: int | None = None, precision: str = "auto"
) -> tuple[float, float]:
    """(top-1, top-5) accuracy in % on unaugmented images, batch norm in eval mode; the model's mode is restored.

    Args:
        batch_size: images in one pass; None: `runtime.inference_batch`.

    Raises:
        ValueError: the set is empty, or the network's outputs do not match its classes.
    """
    if not len(image_set):
        raise ValueError("the image set is empty: there is nothing to evaluate")
    batch_size = batch_size or runtime.inference_batch(image_set.device)
    was_training = model.training
    model.eval()
    top1 = top5 = 0
    with autocast(image_set.device, resolve_precision(precision, image_set.device, model)):
        for start in range(0, len(image_set), batch_size):
            indices = torch.arange(start, min(start + batch_size, len(image_set)), device=image_set.device)
            logits = model(image_set.batch(indices))
            if logits.shape[1] != image_set.num_classes:
                raise ValueError(
                    f"the images have {image_set.num_classes} classes, the network has {logits.shape[1]} outputs: "
                    f"pass num_classes={image_set.num_classes}"
                )
            best = logits.topk(min(5, logits.shape[1])).indices == image_set.labels[indices, None]
            top1 += best[:, 0].sum()
            top5 += best.sum()
    model.train(was_training)
    return 100 * int(top1) / len(image_set), 100 * int(top5) / len(image_set)


def fit(
    model: nn.Module,
    teacher: Callable[[Tensor, Tensor], Features | None],
    objective: Objective,
    train: ImageSet,
    test: ImageSet | None,
    recipe: Recipe,
    seed: int | str,
    state: dict | None = None,
    on_epoch: Callable[[dict], None] = lambda state: None,
    plain: bool = False,
) -> list[dict]:
    """Train for the recipe's epochs and return one row of metrics an epoch.

    Args:
        test: None: no accuracy is measured.
        state: what an earlier `on_epoch` received, to go on from there; the result is that of an unbroken run.
        on_epoch: called after every epoch with all that is needed to go on: epoch, model, objective, optimizer,
            history.
        plain: whether the optimiser goes through the weights one by one, and nothing is recorded.
    """
    optimizer = make_optimizer(model, objective, recipe, train.device, plain)
    step = RecordedStep(train_step) if graph.wanted(train.device) and not plain else train_step
    history: list[dict] = []
    if state is not None:
        model.load_state_dict(state["model"])
        objective.load_state_dict(state["objective"])
        optimizer.load_state_dict(state["optimizer"])
        history = list(state["history"])
    for epoch in range(len(history), recipe.epochs):
        start = time.perf_counter()
        if isinstance(teacher, FrozenTeacher):
            teacher.prepare(*draw(len(train), seed, epoch))
        row = {"epoch": epoch + 1}
        row |= train_epoch(model, teacher, objective, optimizer, train, recipe, seed, epoch, step=step)
        seconds = time.perf_counter() - start
        if test is not None:
            top1, top5 = evaluate(model, test, precision=recipe.precision)
            row |= {"test_accuracy": top1, "test_top5": top5}
        steps = steps_per_epoch(len(train), recipe.batch_size)
        row["learning_rate"] = recipe.learning_rate_at((epoch + 1) * steps - 1, steps)
        row |= {"seconds": round(seconds, 3), "images_per_second": round(len(train) / seconds, 1)}
        history.append(row)
        on_epoch(
            {
                "model": model.state_dict(),
                "objective": objective.state_dict(),
                "optimizer": optimizer.state_dict(),
                "history": history,
            }
        )
    return history
