"""How long, how fast and how precisely to train: a recipe is data, and two of them are named."""

import math
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import nn

from dcd_utils import runtime


@dataclass(frozen=True)
class Recipe:
    """Settings of a training run; an impossible value is a ValueError that names it.

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step.
        learning_rate: the starting rate ("steps") or the peak ("one_cycle").
        schedule: "steps" multiplies by `decay` at the start of each of `milestones` (epochs, counted from 0);
            "one_cycle" rises linearly over the first fifth of all steps and falls to zero along a cosine.
        momentum, nesterov, weight_decay: of SGD; the decay acts on every trained number, as published.
        precision: "bf16" (autocast; losses and weights stay float32), "fp32", or "auto": bf16 where the device computes
            it natively and the network gains by it.
    """

    epochs: int = 240
    batch_size: int = 64
    learning_rate: float = 0.05
    schedule: str = "steps"
    milestones: tuple[int, ...] = (150, 180, 210)
    decay: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    precision: str = "auto"

    def __post_init__(self):
        object.__setattr__(self, "milestones", tuple(self.milestones))
        rules = {
            "epochs": (isinstance(self.epochs, int) and self.epochs >= 1, "a whole number of at least 1"),
            "batch_size": (isinstance(self.batch_size, int) and self.batch_size >= 2, "a whole number of at least 2"),
            "learning_rate": (_finite(self.learning_rate) and self.learning_rate > 0, "above 0"),
            "schedule": (self.schedule in ("steps", "one_cycle"), "one of steps, one_cycle"),
            "milestones": (list(self.milestones) == sorted(set(self.milestones)), "epochs in rising order"),
            "decay": (_finite(self.decay) and 0 < self.decay <= 1, "above 0 and at most 1"),
            "momentum": (_finite(self.momentum) and 0 <= self.momentum < 1, "at least 0 and below 1"),
            "nesterov": (not self.nesterov or self.momentum > 0, "False where momentum is 0"),
            "weight_decay": (_finite(self.weight_decay) and self.weight_decay >= 0, "at least 0"),
            "precision": (self.precision in ("auto", "fp32", "bf16"), "one of auto, fp32, bf16"),
        }
        for name, (holds, expected) in rules.items():
            if not holds:
                raise ValueError(f"recipe: {name}={getattr(self, name)!r} was given, expected {expected}")

    def but(self, **changes) -> "Recipe":
        """The same recipe with some values changed."""
        return replace(self, **changes)

    def learning_rate_at(self, step: int, steps_per_epoch: int) -> float:
        """The rate of a step, counted from 0 over the whole run."""
        if self.schedule == "steps":
            return self.learning_rate * self.decay ** sum(step // steps_per_epoch >= epoch for epoch in self.milestones)
        progress = (step + 1) / (self.epochs * steps_per_epoch)
        if progress < 0.2:
            return self.learning_rate * progress / 0.2
        return self.learning_rate * (1 + math.cos(math.pi * (progress - 0.2) / 0.8)) / 2


@dataclass(frozen=True)
class Execution:
    """How a run is computed, which is no part of what it is; an impossible value is a ValueError.

    Attributes:
        micro_batch: images that a process passes through the networks at once, for a GPU that cannot hold a whole
            batch; each passes twice. None: all. The loss sees the whole batch all the same; only batch norm's
            statistics are those of the images that pass together.
        sync_batch_norm: in several processes, on GPUs: batch norm over the whole batch, not over a process's images
            (the published way).
        checkpoint_steps: an epoch of more steps leaves a checkpoint after each so many.
    """

    micro_batch: int | None = None
    sync_batch_norm: bool = False
    checkpoint_steps: int = 1000

    def __post_init__(self):
        for name, least in (("micro_batch", 2), ("checkpoint_steps", 1)):
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= least or (name == "micro_batch" and value is None)):
                raise ValueError(f"{name}={value!r} was given, expected a whole number of at least {least}")


USUAL = Execution()


def _finite(value) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


# RepDistiller's schedule for CIFAR-100, which the paper uses; see `recipe_for`
PAPER = Recipe()
# a minute on a CPU core, in fp32 so that it is the same run everywhere; chosen on other images and seeds than those
# that are reported (with batches of 64 luck counted for more); a teacher is trained longer
QUICK = Recipe(epochs=15, batch_size=32, learning_rate=0.1, schedule="one_cycle", milestones=(), precision="fp32")
QUICK_TEACHER = QUICK.but(epochs=30)
# the paper's recipe for ImageNet
IMAGENET = Recipe(120, batch_size=256, learning_rate=0.1, milestones=(30, 60, 90), weight_decay=1e-4)
_GENTLE = ("MobileNetV2", "ShuffleV1", "ShuffleV2")


def recipe_for(recipe: Recipe, network: str) -> Recipe:
    """`recipe` as it suits a network: the mobile networks take a fifth of the rate of PAPER (as published, 0.01) and of
    QUICK, whatever its length and precision."""
    named = (PAPER, QUICK) if network in _GENTLE else ()
    if any(recipe == known.but(epochs=recipe.epochs, precision=recipe.precision) for known in named):
        return recipe.but(learning_rate=recipe.learning_rate / 5)
    return recipe


def resolve_precision(precision: str, device: torch.device, network: nn.Module | None = None) -> str:
    """Return what "auto" means for a network on this device: "bf16" where it is native and pays, else "fp32".

    On a CPU it does not pay for convolutions in groups: MobileNetV2 trains at half its fp32 speed, ShuffleV2 at three
    quarters. "bf16" is a ValueError on a GPU that has no such arithmetic; a CPU without it emulates it, slowly."""
    native = runtime.bf16_pays(device)
    if precision == "auto":
        layers = network.modules() if network is not None and device.type == "cpu" else ()
        return "bf16" if native and not any(getattr(layer, "groups", 1) > 1 for layer in layers) else "fp32"
    if precision == "bf16" and device.type == "cuda" and not native:
        raise ValueError(
            f'precision="bf16" was given, but {torch.cuda.get_device_name(device)} does not compute in bfloat16: '
            'choose precision="fp32", or "auto", which finds out'
        )
    return precision


def autocast(device: torch.device, precision: str):
    """Return the context for forward passes: bfloat16 autocast, or nothing for "fp32"."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
