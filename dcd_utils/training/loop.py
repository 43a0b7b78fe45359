"""The one training loop: the teacher and every student pass through it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dcd_utils import runtime
from dcd_utils.data import ImageSet, views
from dcd_utils.losses import Objective
from dcd_utils.training import threads
from dcd_utils.training.recipe import Recipe, autocast, resolve_precision
from dcd_utils.training.teacher import FrozenTeacher, NoTeacher, lent


class NonFiniteLoss(RuntimeError):
    """A loss term, a weight or an output of the network became infinite or not a number; says which, and when."""


ADVICE = 'lower the learning rate or use precision="fp32"'


@dataclass(frozen=True, eq=False)
class Job:
    """What is trained, by what, on what. Without `test` no accuracy is measured. The recipe's precision is decided, and
    the seed decides batches and views."""

    model: nn.Module
    objective: Objective
    teacher: NoTeacher | FrozenTeacher
    train: ImageSet
    test: ImageSet | None
    recipe: Recipe
    seed: int | str = 0


def draw(size: int, seed: int | str, epoch: int) -> tuple[Tensor, Tensor]:
    """Return the order of the images in an epoch, and the view of each: both int64 [size], on the CPU."""
    order = torch.randperm(size, generator=runtime.generator("order", seed, epoch))
    return order, torch.randint(views.NUM_VIEWS, (size,), generator=runtime.generator("views", seed, epoch))


def split(order: Tensor, drawn: Tensor, batch_size: int, device: torch.device | str) -> list[tuple[Tensor, Tensor]]:
    """Return what `draw` returned batch by batch: (indices, views), both int64 [B], on the device.

    The last batch holds what is left; a rest of one image is left out: one image has nothing to be contrasted with.
    """
    pairs = zip(order.to(device).split(batch_size), drawn.to(device).split(batch_size), strict=True)
    return [pair for pair in pairs if len(pair[0]) > 1]


def batches(size: int, batch_size: int, seed: int | str, epoch: int, device: torch.device | str = "cpu") -> Iterator:
    """Yield (indices, views) of each step of an epoch: both int64 [B], every image once, in a random view."""
    return iter(split(*draw(size, seed, epoch), batch_size, device))


def make_optimizer(job: Job) -> torch.optim.SGD:
    """Return SGD over the network and whatever the losses learn (DCD: both linear maps, the scale and the bias)."""
    parameters, recipe = [*job.model.parameters(), *job.objective.parameters()], job.recipe
    return torch.optim.SGD(
        parameters, recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=recipe.nesterov,
        # one kernel for all weights; the update is the same but for its last bits
        fused=True if job.train.device.type in ("cuda", "cpu") else None,
    )


def train_epoch(job: Job, optimizer: torch.optim.Optimizer, epoch: int) -> dict[str, float]:
    """Pass once over the training images; return the mean of every loss term, and the training accuracy in %."""
    train, recipe = job.train, job.recipe
    order, drawn = draw(len(train), job.seed, epoch)
    steps = split(order, drawn, recipe.batch_size, train.device)
    job.teacher.prepare(order, drawn)
    job.model.train()
    rows = []
    for step, (indices, batch_views) in enumerate(steps):
        optimizer.param_groups[0]["lr"] = recipe.learning_rate_at(epoch * len(steps) + step, len(steps))
        images, labels = train.batch(indices, batch_views), train.labels[indices]
        with autocast(train.device, recipe.precision):
            teacher_features = job.teacher(images, indices)
            student_features = job.model.features(images)
        loss, terms = job.objective(student_features, teacher_features, labels, indices)

        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        correct = (student_features.logits.detach().argmax(dim=1) == labels).float().mean() * 100
        terms = {"train_accuracy": correct, "train_loss": loss.detach(), **terms}
        rows.append(torch.stack([term.float() for term in terms.values()]))  # read from the device at the end
    return _means(list(terms), torch.stack(rows), [len(indices) for indices, _ in steps], epoch)


def fit(job: Job, state: dict | None = None, on_epoch: Callable[[dict], None] = lambda state: None) -> list[dict]:
    """Train for the recipe's epochs; return one row of metrics per epoch. After each, `on_epoch` receives all that is
    needed to go on (model, objective, optimizer, history): given as `state`, it leads to an unbroken run's result."""
    optimizer, history = make_optimizer(job), []
    if state is not None:
        job.model.load_state_dict(state["model"])
        job.objective.load_state_dict(state["objective"])
        optimizer.load_state_dict(state["optimizer"])
        history = list(state["history"])
    optimizer.register_step_post_hook(lambda *_: threads.settle())
    with threads.fastest(job.train.device):
        for epoch in range(len(history), job.recipe.epochs):
            start = time.perf_counter()
            row = {"epoch": epoch + 1, **train_epoch(job, optimizer, epoch)}
            seconds = time.perf_counter() - start
            if not torch.stack([weights.isfinite().all() for weights in optimizer.param_groups[0]["params"]]).all():
                raise NonFiniteLoss(f"weights are not finite after the last step of epoch {epoch + 1}: {ADVICE}")
            if job.test is not None:
                row["test_accuracy"], row["test_top5"] = evaluate(job.model, job.test, precision=job.recipe.precision)
            row["learning_rate"] = optimizer.param_groups[0]["lr"]
            row |= {"seconds": round(seconds, 3), "images_per_second": round(len(job.train) / seconds, 1)}
            history.append(row)
            states = {name: part.state_dict() for name, part in (("model", job.model), ("objective", job.objective))}
            on_epoch({**states, "optimizer": optimizer.state_dict(), "history": history})
    return history


def _means(names: list[str], rows: Tensor, sizes: list[int], epoch: int) -> dict[str, float]:
    """Return the mean of every term [steps, terms] over the images; raise NonFiniteLoss if a value is not finite."""
    rows, weights = rows.cpu().double(), torch.tensor(sizes, dtype=torch.float64)
    if bad := (~rows.isfinite()).nonzero().tolist():
        # the sum comes before its terms but is never the cause: name the term that broke it, if one did
        step, column = min(bad, key=lambda place: (place[0], names[place[1]] == "train_loss", place[1]))
        raise NonFiniteLoss(
            f'the loss term "{names[column]}" is {rows[step, column].item()} in epoch {epoch + 1}, '
            f"step {step + 1} of {len(rows)}: {ADVICE}"
        )
    return dict(zip(names, ((weights @ rows) / weights.sum()).tolist(), strict=True))


@torch.no_grad()
def evaluate(
    model: nn.Module, image_set: ImageSet, batch_size: int | None = None, precision: str = "auto"
) -> tuple[float, float]:
    """Return (top-1, top-5) accuracy in % on unaugmented images, batch norm in eval mode; modes are restored.

    Raises:
        ValueError: the set is empty, or the network's outputs do not match its classes.
        NonFiniteLoss: outputs are infinite or not numbers: they are no guess that could be counted.
    """
    if not len(image_set):
        raise ValueError("the image set is empty: there is nothing to evaluate")
    batch_size = batch_size or runtime.inference_batch(image_set.device)
    counts = torch.zeros(3, dtype=torch.int64, device=image_set.device)
    precision = resolve_precision(precision, image_set.device, model)
    with lent(model), threads.fastest(image_set.device), autocast(image_set.device, precision):
        model.eval()
        for indices in torch.arange(len(image_set), device=image_set.device).split(batch_size):
            threads.settle()
            logits = model(image_set.batch(indices))
            check_outputs(logits, image_set, "network")
            best = logits.topk(min(5, logits.shape[1])).indices == image_set.labels[indices, None]
            counts += torch.stack([best[:, 0].sum(), best.sum(), (~logits.isfinite()).any(dim=1).sum()])
    top1, top5, broken = counts.tolist()  # read once: each look at the device waits for it
    if broken:
        raise NonFiniteLoss(f"the outputs for {broken} of {len(image_set)} test images are not finite: {ADVICE}")
    return 100 * top1 / len(image_set), 100 * top5 / len(image_set)


def check_outputs(logits: Tensor, image_set: ImageSet, role: str) -> None:
    """Raise ValueError unless there is one output per class."""
    if logits.shape[1] != image_set.num_classes:
        raise ValueError(
            f"the images have {image_set.num_classes} classes, the {role} has {logits.shape[1]} outputs: "
            f"pass num_classes={image_set.num_classes}"
        )
