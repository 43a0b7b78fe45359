"""Inputs and figures of the methods' golden tests: features and weights that depend on a formula alone, in float64."""

import zlib

import numpy as np
import torch

from dcd_utils import losses
from dcd_utils.models import Features

BATCH, CLASSES, IMAGES = 8, 5, 40
STUDENT = [(4, 16), (4, 16), (6, 8), (8, 4)]
TEACHER = {
    "equal sizes": [(6, 16), (6, 16), (8, 8), (10, 4)],
    "smaller teacher": [(6, 8), (6, 8), (8, 4), (10, 2)],
    "larger teacher": [(6, 32), (6, 32), (8, 16), (10, 8)],
    "equal channels": STUDENT,
}


def draw(name: str, *shape: int) -> torch.Tensor:
    """Normal numbers that depend on the name and the shape alone."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    return torch.from_numpy(generator.standard_normal(shape))


def features(role: str, maps: list[tuple[int, int]], width: int) -> Features:
    shapes = [draw(f"{role} map {i}", BATCH, channels, side, side) for i, (channels, side) in enumerate(maps)]
    return Features(shapes, draw(f"{role} pooled", BATCH, width), 3 * draw(f"{role} logits", BATCH, CLASSES))


def fill(module: torch.nn.Module) -> torch.nn.Module:
    """Every parameter from its name; what starts from a setting (single numbers, VID's spreads) is left."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim and "spread" not in name:
                parameter.copy_(draw(name, *parameter.shape) * 0.3)
    return module.double()


def case(method: str, sizes: str = "equal sizes", **options):
    """(loss in float64, student features with gradients, teacher features, what the loss needs besides)."""
    labels = torch.arange(IMAGES) % CLASSES
    student, teacher = features("student", STUDENT, 7), features("teacher", TEACHER[sizes], 9)
    torch.manual_seed(0)
    loss = fill(losses.objective(method, student, teacher, train_labels=labels, **options).losses[method])
    for buffer, values in loss.named_buffers():
        if buffer in ("queue", "student_bank", "teacher_bank"):
            values.copy_(torch.nn.functional.normalize(draw(buffer, *values.shape), dim=1))
    besides = {"labels": torch.arange(BATCH) % CLASSES, "indices": 3 * torch.arange(BATCH) % IMAGES}
    needed = {need: besides[need] for need in losses.METHODS[method].needs}
    if method == "crd":
        needed["negatives"] = (draw("negatives", BATCH, 12).abs() * 1000).long() % IMAGES
    for tensor in (student.pooled, student.logits, *student.maps):
        tensor.requires_grad_()
    return loss, student, teacher, needed


def figures(value: torch.Tensor, inputs: list[torch.Tensor]) -> list[float]:
    """The loss, and its derivative along a fixed direction for every input."""
    slopes = torch.autograd.grad(value, inputs, allow_unused=True, materialize_grads=True)
    return [
        value.item(),
        *((slope * draw(f"direction {i}", *slope.shape)).sum().item() for i, slope in enumerate(slopes)),
    ]


def inputs_of(method: str, student: Features) -> list[torch.Tensor]:
    found = getattr(student, losses.METHODS[method].reads)
    return found if isinstance(found, list) else [found]
