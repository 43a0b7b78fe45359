"""Train a network, or distil one into another; a run with exactly the same config is loaded instead."""

from __future__ import annotations

import inspect
import os
from dataclasses import asdict, replace

import torch
from torch import nn
from tqdm.auto import tqdm

from dcd_utils import losses, models, runtime
from dcd_utils.data import ImageSet
from dcd_utils.training.cache import CachedTeacher, parse
from dcd_utils.training.loop import FrozenTeacher, Preactivated, fit, no_teacher, resolve_precision
from dcd_utils.training.recipe import QUICK, Recipe
from dcd_utils.training.runs import FORMAT, Run, RunBusy, RunFolder


def train(
    model: nn.Module,
    train: ImageSet,
    test: ImageSet,
    recipe: Recipe = QUICK,
    seed: int = 0,
    run_dir: str | os.PathLike | None = None,
    plain: bool = False,
    wait: bool = True,
) -> Run:
    """Train `model` on labels alone, or load the run that did exactly this.

    Args:
        model: trained in place; its present weights are the start. `models.create(name, num_classes, seed=seed)`
            makes one.
        train, test: image sets on one device, which becomes the device of training.
        recipe: how to train.
        seed: decides batches and views; a student distilled with the same seed sees the same ones.
        run_dir: the run's folder; None: `data/runs/<name>-<hash of config>`. An unfinished run in it is taken up
            where it stopped.
        plain: no trick that saves time: 32-bit numbers, channels first in memory, one weight after the other in the
            optimiser, and (in `distill`) a teacher that answers live. For comparison; it is another run.
        wait: whether to wait for another process that is training this very run, and then to load it.

    Raises:
        ValueError: the outputs do not match the classes, train and test disagree, or the folder holds another run.
        RunBusy: another process is training this run, and wait is False.
        RuntimeError: the device ran out of memory; earlier checkpoints stay as they were.
        NonFiniteLoss: a loss term stopped being finite; earlier checkpoints stay as they were.
    """
    details = {"method": "alone"}
    objective = losses.Objective()
    return _run("train", model, None, objective, train, test, recipe, seed, run_dir, details, plain, wait=wait)


def distill(
    student: nn.Module,
    teacher: nn.Module,
    train: ImageSet,
    test: ImageSet,
    method: str = "dcd+kd",
    recipe: Recipe = QUICK,
    seed: int = 0,
    run_dir: str | os.PathLike | None = None,
    weights: dict[str, float] | None = None,
    options: dict | None = None,
    cache: str = "auto",
    plain: bool = False,
    wait: bool = True,
) -> Run:
    """Train `student` on labels and a frozen `teacher`, or load the run that did exactly this.

    Args:
        method: one of `losses.names()`, or one of them followed by "+kd".
        weights: replaces weights of the objective, for instance {"dcd": 2.0}.
        options: settings of the method's loss, for instance {"alpha": 0.0}.
        cache: where the teacher's answers are kept for all runs that ask for the same: "auto", "off", "device",
            "memory" or "file" (see `training.CachedTeacher`). The training is the same with and without, unless
            ":fp16" stands behind it. A method that reads maps always has a live teacher.
        Others as in `train`.

    Raises:
        ValueError: as in `train`; an unknown method; teacher and student know different classes; a table of answers
            that does not fit where it was asked for.
        NonFiniteLoss: a loss term stopped being finite; earlier checkpoints stay as they were.
    """
    losses.parse(method)
    _, storage = parse(cache)
    student, teacher = student.to(train.device), teacher.to(train.device)
    outputs = [_probe(student, train, "student"), _probe(teacher, train, "teacher")]
    known = getattr(teacher, "classes", None)
    if known is not None and tuple(known) != tuple(train.classes):
        raise ValueError(
            f"the teacher was trained on other classes ({_some(known)}) than the student's data has "
            f"({_some(train.classes)}): "
            "train the teacher on the same data set"
        )
    options, weights = options or {}, weights or {}
    with torch.random.fork_rng(devices=[]):
        # what a loss learns starts from the run's seed, not from whatever ran before
        torch.manual_seed(runtime.generator("losses", method, seed).initial_seed())
        objective = losses.objective(method, *outputs, weights=weights, train_labels=train.labels.cpu(), **options)
    details = {
        "method": method.lower(),
        "weights": objective.weights,
        "options": options,
        "teacher": runtime.digest(teacher.state_dict()),
    }
    if storage and not plain and not objective.reads_maps:
        details["stored_answers"] = storage
    return _run("distill", student, teacher, objective, train, test, recipe, seed, run_dir, details, plain, cache, wait)


@torch.no_grad()
def check_method(
    student: nn.Module,
    teacher: nn.Module,
    train: ImageSet,
    method: str,
    batch_size: int,
    weights: dict[str, float] | None = None,
    options: dict | None = None,
) -> None:
    """Try a method on one batch, before hours of training: with networks that are trained or not.

    Raises:
        ValueError: the method cannot work with this pair, this batch size, or these options.
    """
    pair = student.to(train.device), teacher.to(train.device)
    outputs = [_probe(network, train, role) for network, role in zip(pair, ("student", "teacher"), strict=True)]
    repeated = torch.arange(min(batch_size, len(train)), device=train.device) % len(outputs[0].logits)
    outputs = [
        models.Features([each[repeated] for each in found.maps], found.pooled[repeated], found.logits[repeated])
        for found in outputs
    ]
    with torch.random.fork_rng(devices=[]):
        labels = train.labels.cpu()
        try:
            objective = losses.objective(method, *outputs, weights=weights, train_labels=labels, **(options or {}))
        except TypeError as error:
            loss = losses.objective(method, *outputs, train_labels=labels).losses[losses.parse(method)[0]]
            known = inspect.signature(type(loss)).parameters.values()
            known = [each.name for each in known if each.default is not each.empty]
            raise ValueError(
                f"{method} was given {', '.join(f'{name}={value}' for name, value in (options or {}).items())}: its "
                f"loss takes {', '.join(known) or 'no settings'} ({str(error).splitlines()[0]})"
            ) from error
        indices = torch.arange(len(repeated), device=train.device)
        objective.to(train.device)(*outputs, train.labels[indices], indices)
        found = objective.stage()
        if found is not None and found[1].preactivation:
            for network in pair:
                network.features(train.batch(indices[:2]), preactivation=True)


def _run(
    kind, model, teacher, objective, train, test, recipe, seed, run_dir, details, plain=False, cache="off", wait=True
) -> Run:
    device = train.device
    if test.device != device or test.classes != train.classes:
        raise ValueError(
            f"train is on {device} with classes {_some(train.classes)}, test is on {test.device} with "
            f"{_some(test.classes)}: "
            "both must come from one data.load"
        )
    if len(train) < 2:
        raise ValueError(f"{len(train)} training images were given: pass at least 2")
    model, objective = model.to(device), objective.to(device)
    _probe(model, train, "network")
    recipe = recipe.but(precision="fp32" if plain else resolve_precision(recipe.precision, device, model))
    name = getattr(model, "name", type(model).__name__)
    config = {
        "format": FORMAT,
        "kind": kind,
        "network": name,
        "initial_weights": runtime.digest(model.state_dict()),
        "train": train.digest(),
        "test": test.digest(),
        "recipe": asdict(recipe),
        "seed": seed,
        **details,
        **({"plain": True} if plain else {}),
    }
    label = f"{name}-{details['method']}-seed{seed}"
    folder = RunFolder(run_dir, config, label)
    run = Run(model, objective, [], folder.config, folder.path)
    model.classes = train.classes

    def on_wait():
        if not wait:
            raise RunBusy(f"{label}: another process trains this run")
        print(f"{label}: another process trains this run, waiting for it", flush=True)

    with folder.claimed(on_wait):
        finished = folder.finished()
        state = folder.checkpoint()
        if finished is not None:
            models.load_weights(model, folder.path)
            if state is not None:
                objective.load_state_dict(state["objective"])
            run.rows = finished
            _settle(run)
            print(f"{label}: {run.accuracy:.2f} % (loaded, trained before with exactly this config)")
            return run
        try:
            how = _learn(run, folder, state, label, teacher, train, test, recipe, seed, details, plain, cache)
        except torch.OutOfMemoryError as error:
            raise RuntimeError(
                f"{label}: {device} ran out of memory with {recipe.batch_size} images of "
                f"{tuple(train.images.shape[1:])} a step: choose a smaller batch_size, a smaller network, "
                f'precision="bf16" or another place for the answers of a teacher (cache="file"), or free the device '
                f"(its own words: {str(error).splitlines()[0]}). Epochs that were finished are kept, and the same call "
                "goes on after them"
            ) from error
        folder.finish(model, run.rows)
    _settle(run)
    print(f"{label}: {run.accuracy:.2f} % after {recipe.epochs} epochs, {run.seconds:.0f} s{how}")
    return run


def _learn(run, folder, state, label, teacher, train, test, recipe, seed, details, plain, cache) -> str:
    """Train a run's model to its last epoch; returns a remark for the line that reports the run."""
    model, objective = run.model, run.objective
    if train.device.type == "cpu" and not plain:
        runtime.reuse_freed_memory()
    if train.device.type in ("cuda", "cpu"):
        # convolutions run faster on this layout
        layout = torch.contiguous_format if plain else torch.channels_last
        train, test = (replace(images, channels_last=not plain) for images in (train, test))
        for network in (model, teacher) if teacher is not None else (model,):
            network.to(memory_format=layout)
    guide, how = _guide(teacher, objective, train, recipe, "off" if plain else cache, details)
    folder.begin()
    state = _first_stage(label, model, teacher, objective, train, recipe, seed, state, folder)
    done = len(state["history"]) if state else 0
    with tqdm(total=recipe.epochs, initial=done, desc=label, unit="epoch", leave=False) as bar:

        def on_epoch(state):
            folder.save_checkpoint(state)
            bar.set_postfix_str(f"{state['history'][-1]['test_accuracy']:.1f} %")
            bar.update()

        run.rows = fit(model, guide, objective, train, test, recipe, seed, state, on_epoch, plain)
    if isinstance(guide, CachedTeacher) and guide.storage_error:
        how += f", stored answers off by at most {guide.storage_error:.1g}"
    return how


def _guide(teacher, objective, train, recipe, cache, details):
    """(what the loop asks, a remark for the line that reports the run)."""
    if teacher is None:
        return no_teacher, ""
    live = FrozenTeacher(teacher, recipe.batch_size)
    if objective.reads_maps or cache == "off":
        return live, ", live teacher (its maps are read)" if objective.reads_maps else ", live teacher"
    try:
        guide = CachedTeacher(teacher, train, recipe.precision, recipe.batch_size, cache, details["teacher"])
    except OSError as error:  # a full disk
        return live, f", live teacher (its answers cannot be stored: {error})"
    except ValueError as error:  # no room, or a damaged file
        if parse(cache)[0] != "auto":
            raise
        # nobody asked for a table, so nobody is stopped for the want of one
        return live, f", live teacher ({error})"
    return guide, f", cached teacher ({guide})"


def _first_stage(label, model, teacher, objective, train, recipe, seed, state, folder) -> dict | None:
    """Train what a method asks for before the student itself learns; returns the state that training goes on from.

    The stage takes an eighth of the recipe's epochs (30 of 240, as published), at its own constant rate.
    """
    found = objective.stage()
    if found is None or (state is not None and "stage" not in state):
        return state
    first, stage = found
    epochs = max(1, recipe.epochs // 8)
    rate = min(stage.learning_rate, recipe.learning_rate)
    recipe = recipe.but(epochs=epochs, schedule="steps", milestones=(), learning_rate=rate)
    wrap = Preactivated if stage.preactivation else lambda network: network
    done = len(state["history"]) if state else 0
    with tqdm(total=epochs, initial=done, desc=f"{label} (first stage)", unit="epoch", leave=False) as bar:

        def on_epoch(state):
            folder.save_checkpoint({**state, "objective": objective.state_dict(), "stage": "first"})
            bar.update()

        if state is not None:
            objective.load_state_dict(state["objective"])
            state = {**state, "objective": first.state_dict()}
        guide = FrozenTeacher(wrap(teacher), recipe.batch_size)
        fit(wrap(model), guide, first.to(train.device), train, None, recipe, f"{seed}/first", state, on_epoch)
    return None


def _settle(run: Run) -> None:
    """A run's parts are handed out for looking: in eval mode."""
    run.model.eval()
    run.objective.eval()


@torch.no_grad()
def _probe(model: nn.Module, image_set: ImageSet, role: str) -> models.Features:
    """Features of two images, to learn shapes from and to fail early on."""
    if not callable(getattr(model, "features", None)) or isinstance(model.features, nn.Module):
        raise ValueError(
            f"the {role} ({type(model).__name__}) has no method features(images) -> Features(maps, pooled, logits): "
            "create it with models.create, pass a torchvision or timm network through models.wrap, or give it one"
        )
    was_training = model.training
    output = model.eval().features(image_set.batch(torch.arange(2, device=image_set.device)))
    model.train(was_training)
    if output.logits.shape[1] != image_set.num_classes:
        raise ValueError(
            f"the images have {image_set.num_classes} classes, the {role} has {output.logits.shape[1]} outputs: "
            f"pass num_classes={image_set.num_classes}"
        )
    return output


def _some(classes) -> str:
    return f"{len(classes)}: {', '.join(classes[:3])}, ..."
