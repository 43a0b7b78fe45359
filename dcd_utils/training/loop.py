"""The one training loop: the teacher and every student pass through it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from dcd_utils import runtime
from dcd_utils.data import ImageSet, views
from dcd_utils.losses import Objective
from dcd_utils.training import threads
from dcd_utils.training.recipe import Recipe, autocast, resolve_precision
from dcd_utils.training.teacher import FrozenTeacher, NoTeacher, compiled


class NonFiniteLoss(RuntimeError):
    """A loss term became infinite or not a number; names the term, the epoch and the step."""


@dataclass(frozen=True, eq=False)
class Job:
    """What is trained, by what, on what.

    The objective's losses may have parameters of their own. Without `test` no accuracy is measured. The recipe's
    precision is decided, and the seed decides batches and views. `plain` has the optimiser go through the weights one
    by one, `compile` sends the student's forward pass through torch.compile.
    """

    model: nn.Module
    objective: Objective
    teacher: NoTeacher | FrozenTeacher
    train: ImageSet
    test: ImageSet | None
    recipe: Recipe
    seed: int | str = 0
    plain: bool = False
    compile: bool = False

    @cached_property
    def features(self) -> Callable:
        """The model's forward pass."""
        return compiled(self.model.features) if self.compile else self.model.features


def draw(size: int, seed: int | str, epoch: int) -> tuple[Tensor, Tensor]:
    """Return the order of the images in an epoch, and the view of each: both int64 [size], on the CPU."""
    order = torch.randperm(size, generator=runtime.generator("order", seed, epoch))
    return order, torch.randint(views.NUM_VIEWS, (size,), generator=runtime.generator("views", seed, epoch))


def split(order: Tensor, drawn: Tensor, batch_size: int, device: torch.device | str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield what `draw` returned batch by batch: (indices, views), both int64 [B], on the device.

    The last batch holds what is left; a rest of one image is left out: one image has nothing to be contrasted with.
    """
    pairs = zip(order.to(device).split(batch_size), drawn.to(device).split(batch_size), strict=True)
    return (pair for pair in pairs if len(pair[0]) > 1)


def batches(
    size: int, batch_size: int, seed: int | str, epoch: int, device: torch.device | str = "cpu"
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (indices, views) of each step of an epoch: both int64 [B], every image once, in a random view."""
    return split(*draw(size, seed, epoch), batch_size, device)


def steps_per_epoch(size: int, batch_size: int) -> int:
    """Return the number of batches that `batches` yields."""
    return size // batch_size + (size % batch_size > 1)


def make_optimizer(job: Job) -> torch.optim.SGD:
    """Return SGD over the network and whatever the losses learn (DCD: both linear maps, the scale and the bias)."""
    return torch.optim.SGD(
        [*job.model.parameters(), *job.objective.parameters()],
        lr=job.recipe.learning_rate, momentum=job.recipe.momentum, weight_decay=job.recipe.weight_decay,
        nesterov=job.recipe.nesterov,
        # one kernel for all weights; the update is the same but for its last bits
        fused=True if job.train.device.type in ("cuda", "cpu") and not job.plain else None,
        foreach=False if job.plain else None,
    )


def train_epoch(job: Job, optimizer: torch.optim.Optimizer, epoch: int) -> dict[str, float]:
    """Pass once over the training images; return the mean of every loss term, and the training accuracy in %."""
    train, recipe = job.train, job.recipe
    order, drawn = draw(len(train), job.seed, epoch)
    steps = steps_per_epoch(len(train), recipe.batch_size)
    job.teacher.prepare(order, drawn)
    job.model.train()
    ledger = Ledger()
    for step, (indices, batch_views) in enumerate(split(order, drawn, recipe.batch_size, train.device)):
        optimizer.param_groups[0]["lr"] = recipe.learning_rate_at(epoch * steps + step, steps)
        images, labels = train.batch(indices, batch_views), train.labels[indices]
        with autocast(train.device, recipe.precision):
            teacher_features = job.teacher(images, indices)
            student_features = job.features(images)
        loss, terms = job.objective(student_features, teacher_features, labels, indices)

        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ledger.add(labels, student_features.logits.detach(), {"train_loss": loss.detach(), **terms})
    return ledger.close(epoch)


def fit(
    job: Job, state: dict | None = None, on_epoch: Callable[[dict], None] = lambda state: None
) -> list[dict[str, float]]:
    """Train for the recipe's epochs and return one row of metrics per epoch.

    After every epoch, `on_epoch` receives all that is needed to go on: model, objective, optimizer and history. Given
    as `state`, it leads to the result of an unbroken run.
    """
    optimizer, history = make_optimizer(job), []
    if state is not None:
        job.model.load_state_dict(state["model"])
        job.objective.load_state_dict(state["objective"])
        optimizer.load_state_dict(state["optimizer"])
        history = list(state["history"])
    optimizer.register_step_post_hook(lambda *_: threads.settle())
    with threads.fastest(job.train.device, fixed=job.plain or job.compile):
        for epoch in range(len(history), job.recipe.epochs):
            start = time.perf_counter()
            row = {"epoch": epoch + 1, **train_epoch(job, optimizer, epoch)}
            seconds = time.perf_counter() - start
            if job.test is not None:
                row["test_accuracy"], row["test_top5"] = evaluate(job.model, job.test, precision=job.recipe.precision)
            row["learning_rate"] = optimizer.param_groups[0]["lr"]
            row |= {"seconds": round(seconds, 3), "images_per_second": round(len(job.train) / seconds, 1)}
            history.append(row)
            states = {name: part.state_dict() for name, part in (("model", job.model), ("objective", job.objective))}
            on_epoch({**states, "optimizer": optimizer.state_dict(), "history": history})
    return history


class Ledger:
    """Collects one value per term and step on the device, and reads them once, at the end of the epoch."""

    def __init__(self):
        self.rows, self.sizes, self.names = [], [], []

    def add(self, labels: Tensor, logits: Tensor, terms: dict[str, Tensor]) -> None:
        """Note a step: labels [B], logits [B, classes] and scalars by name, all detached."""
        correct = (logits.argmax(dim=1) == labels).float().mean() * 100
        self.names = ["train_accuracy", *terms]
        self.rows.append(torch.stack([correct, *(term.float() for term in terms.values())]))
        self.sizes.append(len(labels))

    def close(self, epoch: int) -> dict[str, float]:
        """Return the mean of every value over the images; raise NonFiniteLoss if one is not finite."""
        rows = torch.stack(self.rows).cpu().double()
        bad = (~rows.isfinite()).nonzero()
        if len(bad):
            step = int(bad[0, 0])
            columns = bad[bad[:, 0] == step, 1].tolist()
            # the sum is the first column but never the cause: name the term that broke it, if one did
            column = min(columns, key=lambda column: (self.names[column] == "train_loss", column))
            raise NonFiniteLoss(
                f'the loss term "{self.names[column]}" is {rows[step, column].item()} in epoch {epoch + 1}, '
                f'step {step + 1} of {len(rows)}: lower the learning rate or use precision="fp32"'
            )
        weights = torch.tensor(self.sizes, dtype=torch.float64)
        means = (weights @ rows) / weights.sum()
        return dict(zip(self.names, means.tolist(), strict=True))


@torch.no_grad()
def evaluate(
    model: nn.Module, image_set: ImageSet, batch_size: int | None = None, precision: str = "auto"
) -> tuple[float, float]:
    """Return (top-1, top-5) accuracy in % on unaugmented images, batch norm in eval mode; the mode is restored.

    Raises:
        ValueError: the set is empty, or the network's outputs do not match its classes.
    """
    if not len(image_set):
        raise ValueError("the image set is empty: there is nothing to evaluate")
    batch_size = batch_size or runtime.inference_batch(image_set.device)
    was_training = model.training
    model.eval()
    top1 = top5 = 0
    precision = resolve_precision(precision, image_set.device, model)
    with threads.fastest(image_set.device), autocast(image_set.device, precision):
        for indices in torch.arange(len(image_set), device=image_set.device).split(batch_size):
            threads.settle()
            logits = model(image_set.batch(indices))
            check_outputs(logits, image_set, "network")
            best = logits.topk(min(5, logits.shape[1])).indices == image_set.labels[indices, None]
            top1 += best[:, 0].sum()
            top5 += best.sum()
    model.train(was_training)
    return 100 * int(top1) / len(image_set), 100 * int(top5) / len(image_set)


def check_outputs(logits: Tensor, image_set: ImageSet, role: str) -> None:
    """Raise ValueError unless there is one output per class."""
    if logits.shape[1] != image_set.num_classes:
        raise ValueError(
            f"the images have {image_set.num_classes} classes, the {role} has {logits.shape[1]} outputs: "
            f"pass num_classes={image_set.num_classes}"
        )
