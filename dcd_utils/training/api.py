"""Train a network, or distil one into another; a run with exactly the same config is loaded instead."""

import contextlib
import inspect
import os
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from dcd_utils import distributed, losses, models, runtime
from dcd_utils.data import ImageSet
from dcd_utils.training.config import config, data_facts, differences, network_facts
from dcd_utils.training.loop import Job, NonFiniteLoss, check_outputs
from dcd_utils.training.recipe import QUICK, USUAL, Execution, Recipe, resolve_precision
from dcd_utils.training.runs import Run, RunBusy, RunFolder, known_places
from dcd_utils.training.stages import learn
from dcd_utils.training.teacher import NoTeacher, check_cache, lent


def train(
    model: nn.Module, train: ImageSet, test: ImageSet, recipe: Recipe = QUICK, seed: int = 0,
    run_dir: str | os.PathLike | None = None, wait: bool = True, retrain: bool = False,
    execution: Execution = USUAL,
) -> Run:
    """Train `model` on labels alone, or load the run that did exactly this, from those that come with the course or
    those trained here.

    Args:
        model: trained in place; its present weights are the start.
        train, test: image sets on one device, which becomes the device of training.
        seed: decides batches and views; a student distilled with the same seed sees the same ones.
        run_dir: the run's folder; None: `data/runs/<name>-<hash of config>`. An unfinished run in it is taken up
            where it stopped.
        wait: whether to wait for another process that is training this very run, and then to load it.
        retrain: leave the runs that come with the course aside. What was trained here is still loaded.
        execution: how it is computed.

    Processes of torchrun (in a script of yours, after `distributed.start(runtime.device)`) train one run together, as
    one process would: the batch of the recipe is that of all, and the first one writes. Their number is no part of what
    a run is: it changes last bits, and what batch norm sees at once (a process's images, or as `execution` says).

    On a CPU, training has as many threads as PyTorch, less the cores that stream images, or one while other programs
    want them. The number decides last bits (docs/speed.md): a run taken up ends as an unbroken one while it stays. With
    OMP_NUM_THREADS=1 it always does.

    Raises:
        ValueError: the outputs do not match the classes, train and test disagree, nothing in the network can be
            trained, the folder holds another run, or a file of the run is damaged.
        RunBusy: another process is training this run, and wait is False.
        RuntimeError: the device ran out of memory; earlier checkpoints stay as they were.
        NonFiniteLoss, RunFailed: a loss term stopped being finite, now or in an earlier call.
    """
    model = models.unwrapped(model)
    recipe = _decided(model, train, test, recipe)
    job = Job(model, losses.Objective(), NoTeacher(), train, test, recipe, seed, execution)
    return _run(job, config(model, train, test, recipe, seed), None, run_dir, "off", wait, retrain)


def distill(
    student: nn.Module, teacher: nn.Module, train: ImageSet, test: ImageSet, method: str = "dcd+kd",
    recipe: Recipe = QUICK, seed: int = 0, run_dir: str | os.PathLike | None = None,
    weights: dict[str, float] | None = None, options: dict | None = None, cache: str = "auto", wait: bool = True,
    retrain: bool = False, execution: Execution = USUAL,
) -> Run:
    """Train `student` on labels and a frozen `teacher`, or load the run that did exactly this.

    Args:
        teacher: left as it is: weights, modes, and what of it can be trained.
        method: one of `losses.names()`, or one of them followed by "+kd".
        weights: replaces weights of the objective, for instance {"dcd": 2.0}.
        options: settings of the method's loss, for instance {"alpha": 0.0}.
        cache: where the teacher's answers are kept for all runs that ask for the same: "auto", "off", "device",
            "memory" or "file" (see `training.StoredTeacher`). The training is the same. A method that reads maps
            always has a live teacher.
        Others as in `train`.

    Raises:
        ValueError: an unknown method; teacher and student know different classes or share weights; the answers do not
            fit where they were to be kept. Others as in `train`.
    """
    teacher = models.unwrapped(teacher)
    parts = (student, teacher, train, test, method, recipe, seed)
    check_cache(cache)
    job, facts = prepare(*parts, weights=weights, options=options)
    job = replace(job, execution=execution)
    with lent(teacher):
        return _run(job, facts, teacher, run_dir, "off" if job.objective.reads_maps else cache, wait, retrain)


def prepare(
    student: nn.Module, teacher: nn.Module, train: ImageSet, test: ImageSet, method: str, recipe: Recipe, seed: int, *,
    weights: dict[str, float] | None = None, options: dict | None = None, teacher_facts: dict | None = None,
) -> tuple[Job, dict]:
    """Return what `distill` would train, without its teacher, and the config of that run; raise its errors.
    `teacher_facts` are the `network_facts` of the teacher that is meant, where `teacher` is only of its shape."""
    student, teacher = models.unwrapped(student), models.unwrapped(teacher)
    losses.parse(method)
    teacher_classes = getattr(teacher, "classes", None)
    if teacher_classes is not None and tuple(teacher_classes) != tuple(train.classes):
        raise ValueError(
            f"the teacher was trained on other classes ({_some(teacher_classes)}) than the student's data has "
            f"({_some(train.classes)}): train the teacher on the same data set"
        )
    if _storage(student) & _storage(teacher):
        raise ValueError("student and teacher share weights: pass two networks, for instance copy.deepcopy of one")
    recipe = _decided(student, train, test, recipe)
    examples = [_example(student, train, "student"), _example(teacher, train, "teacher")]
    with runtime.seeded("losses", method, seed):  # what a loss learns starts from the run's seed
        labels = train.labels.cpu()
        objective = losses.objective(method, *examples, weights=weights, train_labels=labels, **(options or {}))
    facts = config(
        student, train, test, recipe, seed, method=method, objective=objective, options=options,
        teacher=teacher_facts or network_facts(teacher, train.num_classes),
    )
    return Job(student, objective, NoTeacher(), train, test, recipe, seed), facts


@torch.no_grad()
def check_method(
    student: nn.Module, teacher: nn.Module, train: ImageSet, method: str, batch_size: int,
    weights: dict[str, float] | None = None, options: dict | None = None, cache: str = "auto",
) -> None:
    """Try a method on one batch, before hours of training: with networks that are trained or not. A pair, a batch size
    or options that the method cannot work with are a ValueError, and so is an unknown `cache`."""
    student, teacher = models.unwrapped(student), models.unwrapped(teacher)
    losses.parse(method)
    check_cache(cache)
    options, labels = options or {}, train.labels.cpu()
    examples = [_example(student, train, "student"), _example(teacher, train, "teacher")]
    repeated = torch.arange(min(batch_size, len(train)), device=train.device) % len(examples[0].logits)
    examples = [
        models.Features([stage_map[repeated] for stage_map in maps], pooled[repeated], logits[repeated])
        for maps, pooled, logits in examples
    ]
    with torch.random.fork_rng(devices=[]):
        try:
            objective = losses.objective(method, *examples, weights=weights, train_labels=labels, **options)
        except TypeError as error:
            loss = losses.objective(method, *examples, train_labels=labels).losses[losses.parse(method)[0]]
            parameters = inspect.signature(type(loss)).parameters.values()
            settings = [parameter.name for parameter in parameters if parameter.default is not parameter.empty]
            raise ValueError(
                f"{method} was given {', '.join(f'{name}={value}' for name, value in options.items())}: its loss takes "
                f"{', '.join(settings) or 'no settings'}, and behind an @ its weight"
            ) from error
        indices = torch.arange(len(repeated), device=train.device)
        objective.to(train.device)(*examples, train.labels[indices], indices)
        stage = objective.stage()
        if stage is not None and stage[1].preactivation:
            for network in (student, teacher):
                with lent(network):  # in eval mode: its running statistics are part of what a run starts from
                    network.eval().features(train.batch(indices[:2]), preactivation=True)


def _run(job: Job, facts: dict, teacher: nn.Module | None, run_dir, cache: str, wait: bool, retrain: bool) -> Run:
    """Load the run that has this config, or train it."""
    if (known := distributed.from_first(lambda: facts)) != facts:
        what = f"process {distributed.rank()} was to train another run than the first: {differences(known, facts)}"
        raise ValueError(f"{what}. Give all processes the same data, code and options")
    if job.execution.sync_batch_norm and distributed.world() > 1 and job.train.device.type != "cuda":
        raise ValueError("sync_batch_norm was given: PyTorch has it on GPUs only, so leave it out (--sync-batch-norm)")
    data = data_facts(job.train, job.test)
    places = known_places(facts, data, retrain) if run_dir is None else [RunFolder(run_dir, facts, data)]
    folder = places[-1]
    label = f"{facts['network']['name']}-{facts['method']}-seed{job.seed}"
    job.model.classes = job.train.classes

    def on_wait():
        if not wait:
            raise RunBusy(f"{label}: another process trains this run")
        print(f"{label}: another process trains this run, waiting for it", flush=True)

    def finished(place: RunFolder) -> Run | None:
        record = distributed.from_first(place.record)
        if record is None or record["state"] != "finished":
            return None
        run = place.load(record, job.model.to(job.train.device).eval(), job.objective.to(job.train.device).eval())
        origin = "trained before" if place is folder else "it comes with the course, trained"
        print(f"{label}: {run.accuracy:.2f} % (loaded: {origin} with exactly this config)")
        return run

    for place in places:  # without a lock: the folder may be shared, or on a disk that cannot be written
        if run := finished(place):
            return run
    with contextlib.ExitStack() as claim:
        distributed.from_first(lambda: claim.enter_context(folder.claimed(on_wait)))
        if run := finished(folder):
            return run
        try:
            history, remark = learn(job, folder, teacher, cache, label)
        except torch.OutOfMemoryError as error:
            raise RuntimeError(
                f"{label}: {job.train.device} ran out of memory with {job.recipe.batch_size} images of "
                f"{tuple(job.train.images.shape[1:])} a step: choose a micro_batch (the batch in parts), a smaller "
                f'batch_size, a smaller network, precision="bf16" or another place for the answers of a teacher '
                f'(cache="file"), or free the device (its own words: {str(error).splitlines()[0]}). Finished epochs '
                "are kept: repeat the call to go on"
            ) from error
        except NonFiniteLoss as error:
            distributed.from_first(partial(folder.fail, str(error)))
            raise
        record = distributed.from_first(lambda: folder.finish(job.model, job.objective, history))
    run = Run(job.model.eval(), record, folder.path, job.objective.eval())
    print(f"{label}: {run.accuracy:.2f} % after {job.recipe.epochs} epochs, {run.seconds:.0f} s{remark}")
    return run


def _decided(model: nn.Module, train: ImageSet, test: ImageSet, recipe: Recipe) -> Recipe:
    """Check what is to be trained on what; return the recipe with its precision decided."""
    if test.device != train.device or test.classes != train.classes:
        raise ValueError(
            f"train is on {train.device} with classes {_some(train.classes)}, test is on {test.device} with "
            f"{_some(test.classes)}: both must come from one data.load"
        )
    processes = distributed.world()
    if recipe.batch_size % processes or recipe.batch_size < 2 * processes:
        given = f"a batch of {recipe.batch_size} images was given to {processes} processes"
        raise ValueError(f"{given}: it is divided among them, so choose a multiple of {processes}, at least 2 for each")
    if len(train) < 2:
        raise ValueError(f"{len(train)} training images were given: pass at least 2")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        name = type(model).__name__
        raise ValueError(f"nothing in the {name} can be trained: pass another one, or call its requires_grad_(True)")
    _example(model, train, "network")
    return recipe.but(precision=resolve_precision(recipe.precision, train.device, model))


@torch.no_grad()
def _example(model: nn.Module, image_set: ImageSet, role: str) -> models.Features:
    """Return the features of two images, to learn shapes from and to fail early on."""
    if not callable(getattr(model, "features", None)) or isinstance(model.features, nn.Module):
        raise ValueError(
            f"the {role} ({type(model).__name__}) has no method features(images) -> Features(maps, pooled, logits): "
            "create it with models.create, pass a torchvision or timm network through models.wrap, or give it one"
        )
    images = image_set.batch(torch.arange(2, device=image_set.device))
    try:
        with lent(model):
            output = model.to(image_set.device).eval().features(images)
        if output.logits.ndim != 2:
            raise ValueError(f"the logits are {tuple(output.logits.shape)}, expected [B, classes]")
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # the code may be anybody's
        channels = next((layer.in_channels for layer in model.modules() if isinstance(layer, nn.Conv2d)), 3)
        grey = f". Its first convolution takes {channels} channels: images here have three, grey ones three equal ones"
        raise ValueError(
            f"the {role} ({getattr(model, 'name', type(model).__name__)}) fails on images of {tuple(images.shape)}: "
            f"{type(error).__name__}: {error}{grey if channels != 3 else ''}"
        ) from error
    check_outputs(output.logits, image_set, role)
    return output


def _storage(network: nn.Module) -> set[int]:
    return {parameter.untyped_storage().data_ptr() for parameter in network.parameters() if parameter.numel()}


def _some(classes) -> str:
    return f"{len(classes)}: {', '.join(classes[:3])}, ..."
