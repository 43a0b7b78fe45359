"""What happens in a run's training: the teacher takes its place, a first stage where a method has one, the epochs."""

from collections.abc import Callable
from dataclasses import asdict, replace

import torch
from torch import nn
from tqdm.auto import tqdm

from dcd_utils import distributed, models, runtime
from dcd_utils.training.loop import Job, fit
from dcd_utils.training.recipe import USUAL
from dcd_utils.training.runs import RunFolder
from dcd_utils.training.teacher import FrozenTeacher, NoTeacher, StoredTeacher


def learn(job: Job, folder: RunFolder, teacher: nn.Module | None, cache: str, label: str) -> tuple[list[dict], str]:
    """Train a job to its last epoch; return the history, and a remark for the line that reports the run."""
    device, usual = job.train.device, asdict(USUAL)
    how = {name: value for name, value in asdict(job.execution).items() if value != usual[name]}
    state = distributed.from_first(lambda: folder.begin(**how))
    if device.type == "cpu":
        runtime.reuse_freed_memory()
    if device.type in ("cuda", "cpu"):  # convolutions run faster with the channels last
        for network in (job.model, teacher) if teacher is not None else (job.model,):
            network.to(memory_format=torch.channels_last)
    job.model.to(device), job.objective.to(device)
    guide, remark = _guide(job, teacher, cache, folder.config)
    state = _first_stage(job, folder, teacher, state, label)
    history = _fit(replace(job, teacher=guide), state, label, folder.save_checkpoint)
    if job.train.streams:
        remark += f", {sum(row['waiting'] for row in history) / len(history):.0f} % of the time waiting for images"
    return history, remark


def _fit(job: Job, state: dict | None, label: str, keep: Callable[[dict], None]) -> list[dict[str, float]]:
    """`fit` behind a progress bar."""
    done = len(state["history"]) if state else 0
    with tqdm(total=job.recipe.epochs, initial=done, desc=label, unit="epoch", leave=False) as bar:

        def on_state(state):
            keep(state)
            if state["begun"] is None:
                if job.test is not None:
                    bar.set_postfix_str(f"{state['history'][-1]['test_accuracy']:.1f} %")
                bar.update()

        return fit(job, state, on_state)


def _guide(job: Job, teacher: nn.Module | None, cache: str, facts: dict):
    """Return the teacher that the loop asks, and a remark."""
    if teacher is None:
        return NoTeacher(), ""
    live = FrozenTeacher(teacher, _at_once(job))
    if job.train.streams:
        if cache not in ("auto", "off"):
            raise ValueError(f'cache="{cache}" was given: streamed images have views without number; choose "off"')
        return live, ", live teacher"
    if cache == "off":
        return live, ", live teacher (its maps are read)" if job.objective.reads_maps else ", live teacher"
    try:
        stored = StoredTeacher(teacher, job.train, job.recipe.precision, job.recipe.batch_size, cache, facts["teacher"])
    except (OSError, ValueError) as error:  # a full disk; no room, or a damaged file
        # nobody asked for a table, so nobody is stopped for the want of one
        if isinstance(error, ValueError) and cache != "auto":
            raise
        reason = f"its answers cannot be stored: {error}" if isinstance(error, OSError) else str(error)
        return live, f", live teacher ({reason})"
    return stored, f", cached teacher ({stored})"


def _first_stage(job: Job, folder: RunFolder, teacher: nn.Module | None, state: dict | None, label: str) -> dict | None:
    """Train what a method asks for before the student itself learns, for an eighth of the recipe's epochs (30 of 240,
    as published), at its own constant rate; return the state that training goes on from."""
    found = job.objective.stage()
    if found is None or (state is not None and "first_stage" not in state):
        return state
    objective, stage = found
    epochs, rate = max(1, job.recipe.epochs // 8), min(stage.learning_rate, job.recipe.learning_rate)
    recipe = job.recipe.but(epochs=epochs, schedule="steps", milestones=(), learning_rate=rate)
    show = _Preactivated if stage.preactivation else lambda network: network
    if state is not None:
        job.objective.load_state_dict(state["objective"])
    first = replace(
        job, model=show(job.model), objective=objective.to(job.train.device), recipe=recipe, seed=f"{job.seed}/first",
        teacher=FrozenTeacher(show(teacher), _at_once(job)), test=None,
    )

    def keep(first_state):
        folder.save_checkpoint({"first_stage": first_state, "objective": job.objective.state_dict(), "history": []})

    _fit(first, state and state["first_stage"], f"{label} (first stage)", keep)
    return None


def _at_once(job: Job) -> int:
    """Return how many images pass through the networks together, in this process."""
    return job.execution.micro_batch or job.recipe.batch_size // distributed.world()


class _Preactivated(nn.Module):
    """A network that shows its maps before the last ReLU of each stage; it shares the network's weights."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def features(self, images: torch.Tensor) -> models.Features:
        return self.network.features(images, preactivation=True)
