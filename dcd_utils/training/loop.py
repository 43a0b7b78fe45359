"""The one training loop: the teacher and every student pass through it."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dcd_utils import distributed, runtime
from dcd_utils.data import ImageSet, views
from dcd_utils.losses import Objective
from dcd_utils.models.parts import in_parts, recomputed
from dcd_utils.training import threads
from dcd_utils.training.recipe import USUAL, Execution, Recipe, autocast, resolve_precision
from dcd_utils.training.teacher import FrozenTeacher, NoTeacher, lent


class NonFiniteLoss(RuntimeError):
    """A loss term, a weight or an output of the network became infinite or not a number; says which, and when."""


ADVICE = 'lower the learning rate or use precision="fp32"'


@dataclass(frozen=True, eq=False)
class Job:
    """What is trained, by what, on what. Without `test` no accuracy is measured. The recipe's precision is decided, and
    the seed decides batches and views. `execution` says how, and is no part of what the run is."""

    model: nn.Module
    objective: Objective
    teacher: NoTeacher | FrozenTeacher
    train: ImageSet
    test: ImageSet | None
    recipe: Recipe
    seed: int | str = 0
    execution: Execution = USUAL


class Step(nn.Module):
    """The part of a step that has a gradient, as one module; in several processes PyTorch sees to it that each has the
    gradient of the whole batch."""

    def __init__(self, job: Job):
        super().__init__()
        self.job, self.model, self.objective = job, job.model, job.objective
        if job.execution.sync_batch_norm and distributed.world() > 1:
            self.model, self.objective = map(distributed.with_synchronised_norms, (job.model, job.objective))

    def forward(self, images: Tensor, teacher, labels: Tensor, indices: Tensor) -> tuple[Tensor, dict, Tensor]:
        """Return the loss, its terms, and the student's logits without a gradient."""
        at_once = self.job.execution.micro_batch
        with autocast(images.device, self.job.recipe.precision):
            run = recomputed(self.model) if at_once else self.model.features
            student = in_parts(run, at_once, images)
        return *self.objective(student, teacher, labels, indices), student.logits.detach()


def draw(size: int, seed: int | str, epoch: int, num_views: int = views.NUM_VIEWS) -> tuple[Tensor, Tensor]:
    """Return the order of the images in an epoch, and the view of each: both int64 [size], on the CPU."""
    order = torch.randperm(size, generator=runtime.generator("order", seed, epoch))
    return order, torch.randint(num_views, (size,), generator=runtime.generator("views", seed, epoch))


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


def train_epoch(
    job: Job, optimizer: torch.optim.Optimizer, epoch: int, step: nn.Module | None = None, begun: dict | None = None,
    keep: Callable[[dict], None] = lambda begun: None,
) -> dict[str, float]:
    """Pass once over the training images; return the mean of every loss term, the training accuracy in %, and of images
    that are streamed the share of the time that went in waiting for them, in %.

    `step` is the job's Step, as several processes share it. Every `execution.checkpoint_steps` steps `keep` receives
    what has passed of the epoch; given as `begun`, with weights and optimizer as they were, the epoch goes on there.
    """
    train, recipe, step = job.train, job.recipe, step or Step(job)
    order, drawn = draw(len(train), job.seed, epoch, train.num_views)
    whole = split(order, drawn, recipe.batch_size, train.device)
    steps = [tuple(numbers[distributed.own(len(numbers))] for numbers in pair) for pair in whole]
    if distributed.world() > 1:  # the teacher answers what this process asks
        order, drawn = (torch.cat(numbers).cpu() for numbers in zip(*steps, strict=True))
    job.teacher.prepare(order, drawn)
    step.train()
    names, done = (begun["names"], [begun["rows"].to(train.device)]) if begun else ([], [])
    first, rows, waited, start = sum(map(len, done)), [], 0.0, time.perf_counter()
    for number, (images, seconds) in enumerate(_read(train, steps[first:]), first):
        optimizer.param_groups[0]["lr"] = recipe.learning_rate_at(epoch * len(steps) + number, len(steps))
        indices, waited = steps[number][0], waited + seconds
        labels, share = train.labels[indices], distributed.begin_batch(len(whole[number][0]), len(indices))
        with autocast(train.device, recipe.precision):
            teacher_features = in_parts(job.teacher, job.execution.micro_batch, images, indices)
        loss, terms, logits = step(images, teacher_features, labels, indices)
        value = loss.detach()

        optimizer.zero_grad()
        if distributed.world() > 1:
            loss = loss * (share * distributed.world())  # the mean over the processes is taken
        loss.backward()
        optimizer.step()
        correct = (logits.argmax(dim=1) == labels).float().mean() * 100
        terms = {"train_accuracy": correct, "train_loss": value, **terms}
        rows.append(share * torch.stack([term.float() for term in terms.values()]))  # read from the device at the end
        if (number + 1) % job.execution.checkpoint_steps == 0 or number + 1 == len(steps):
            names, rows = list(terms), done.append(distributed.summed(torch.stack(rows))) or []
            if number + 1 < len(steps):
                keep({"names": names, "rows": torch.cat(done)})
    distributed.begin_batch(None)
    waiting = {"waiting": round(100 * waited / (time.perf_counter() - start), 1)} if train.streams else {}
    return _means(names, torch.cat(done), [len(indices) for indices, _ in whole], epoch) | waiting


def _read(image_set: ImageSet, steps: list[tuple[Tensor, Tensor | None]]) -> Iterator[tuple[Tensor, float]]:
    """Yield the images of each step and for how many seconds they were waited for; those who read keep their cores."""
    asked, came = time.perf_counter(), -math.inf
    for images in image_set.batches(steps):
        now = time.perf_counter()
        threads.leave(image_set.reading / (now - came))
        yield images, now - asked
        asked, came = time.perf_counter(), now


def fit(job: Job, state: dict | None = None, keep: Callable[[dict], None] = lambda state: None) -> list[dict]:
    """Train for the recipe's epochs; return one row of metrics per epoch. After each, and within long ones, `keep`
    receives all that is needed to go on (model, objective, optimizer, history; in "begun" what has passed of an epoch,
    or None): given as `state`, it leads to an unbroken run's result."""
    optimizer, history, begun = make_optimizer(job), [], None
    if state is not None:
        job.model.load_state_dict(state["model"])
        job.objective.load_state_dict(state["objective"])
        optimizer.load_state_dict(state["optimizer"])
        history, begun = list(state["history"]), state.get("begun")

    def keep_all(begun: dict | None = None) -> None:
        parts = (("model", job.model), ("objective", job.objective), ("optimizer", optimizer))
        keep({**{name: part.state_dict() for name, part in parts}, "history": history, "begun": begun})

    step = distributed.wrapped(Step(job))
    optimizer.register_step_post_hook(lambda *_: threads.settle())
    with threads.fastest(job.train.device):
        for epoch in range(len(history), job.recipe.epochs):
            start = time.perf_counter()
            row = {"epoch": epoch + 1, **train_epoch(job, optimizer, epoch, step, begun, keep_all)}
            seconds, begun = time.perf_counter() - start, None
            distributed.align(job.model, job.objective)  # batch norm's statistics
            if not torch.stack([weights.isfinite().all() for weights in optimizer.param_groups[0]["params"]]).all():
                raise NonFiniteLoss(f"weights are not finite after the last step of epoch {epoch + 1}: {ADVICE}")
            if job.test is not None:
                row["test_accuracy"], row["test_top5"] = evaluate(job.model, job.test, precision=job.recipe.precision)
            row["learning_rate"] = optimizer.param_groups[0]["lr"]
            row |= {"seconds": round(seconds, 3), "images_per_second": round(len(job.train) / seconds, 1)}
            history.append(row)
            keep_all()
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
    counts = torch.zeros(4, dtype=torch.int64, device=image_set.device)
    precision = resolve_precision(precision, image_set.device, model)
    with lent(model), threads.fastest(image_set.device), autocast(image_set.device, precision):
        model.eval()
        own = torch.arange(len(image_set), device=image_set.device)[distributed.own(len(image_set))]
        steps = [(indices, None) for indices in own.split(batch_size)]
        for (indices, _), (images, _) in zip(steps, _read(image_set, steps), strict=True):
            threads.settle()
            logits = model(images)
            check_outputs(logits, image_set, "network")
            best = logits.topk(min(5, logits.shape[1])).indices == image_set.labels[indices, None]
            finite = logits.isfinite().all(dim=1)
            counts += torch.stack([best[:, 0].sum(), best.sum(), finite.sum(), torch.ones_like(finite).sum()])
    top1, top5, finite, size = distributed.summed(counts).tolist()  # read once: each look at the device waits for it
    if finite < size:
        raise NonFiniteLoss(f"the outputs for {size - finite} of {size} test images are not finite: {ADVICE}")
    return 100 * top1 / size, 100 * top5 / size


def check_outputs(logits: Tensor, image_set: ImageSet, role: str) -> None:
    """Raise ValueError unless there is one output per class."""
    if logits.shape[1] != image_set.num_classes:
        raise ValueError(
            f"the images have {image_set.num_classes} classes, the {role} has {logits.shape[1]} outputs: "
            f"pass num_classes={image_set.num_classes}"
        )
