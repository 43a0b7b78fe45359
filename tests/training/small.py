"""What the tests of training share: a recipe of moments, small networks, and their numbers in one row."""

import torch

from dcd_utils import models, training

FAST = training.Recipe(
    epochs=2, batch_size=16, learning_rate=0.05, schedule="one_cycle", milestones=(), precision="fp32"
)


def student(seed=0, classes=3):
    return models.create("resnet8", classes, seed=seed)


def numbers(*modules):
    """Everything that modules hold, as one row of numbers."""
    tensors = [value for module in modules for value in module.state_dict().values() if torch.is_tensor(value)]
    return torch.cat([torch.zeros(0, dtype=torch.float64), *(tensor.reshape(-1).double() for tensor in tensors)])


def same_rows(rows, expected):
    """Whether two histories agree in all but their times."""
    timing = ("seconds", "images_per_second")
    first, second = ([{k: v for k, v in row.items() if k not in timing} for row in table] for table in (rows, expected))
    return first == second


class Stop(Exception):
    """Ends a training in its middle."""


def stop_at(patch, owner, name, count, error=Stop):
    """Let the `count`-th call of owner.name raise instead, counted from 1; the calls after it go through."""
    original, calls = getattr(owner, name), []

    def stopping(*arguments, **named):
        calls.append(arguments)
        if len(calls) == count:
            raise error
        return original(*arguments, **named)

    patch.setattr(owner, name, stopping)
    return calls
