"""A training step recorded once as a CUDA graph and replayed: small networks leave a GPU waiting for its next launch.

Used where the environment says DCD_CUDA_GRAPH=1. It was tested with a recorder that works on a CPU, never on a GPU.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

WARM_UP = 3
CHECKED = 2
# A replayed step may differ from a plain one by rounding and by the order of sums, so by much less than this
TOLERANCE = 0.05


def wanted(device: torch.device) -> bool:
    """Whether steps on this device are to be recorded.

    Raises:
        ValueError: DCD_CUDA_GRAPH is neither 0 nor 1.
    """
    setting = os.environ.get("DCD_CUDA_GRAPH", "0")
    if setting not in ("0", "1"):
        raise ValueError(f'DCD_CUDA_GRAPH="{setting}" was set: 1 records training steps on a GPU, 0 does not')
    return setting == "1" and device.type == "cuda"


class RecordedStep:
    """`train_step`, for one student; called with the same arguments.

    The first steps run as they are, which is what allocates all that later steps need. Then one is recorded, and every
    batch of that size is replayed; others (the epoch's last) run as they are. A recording repeats what the GPU did and
    knows nothing of numbers that Python holds, so the first replays are compared with the step itself, from the same
    weights. A step that cannot be recorded (a method that waits for the GPU), or whose replay differs, runs as it is
    from then on, with a warning.
    """

    def __init__(self, step: Callable):
        self.step = step
        self.taken = self.replayed = 0
        self.replay: Callable[[], None] | None = None
        self.problem: str | None = None

    def __call__(self, model, teacher, objective, optimizer, recipe, *batch: Tensor):
        plain = partial(self.step, model, teacher, objective, optimizer, recipe)
        if self.problem is not None:
            return plain(*batch)
        if self.taken == 0:
            # a number of Python's would be recorded for good; this one changes at every step
            group = optimizer.param_groups[0]
            group["lr"] = torch.tensor(float(group["lr"]), device=batch[0].device)
            self.inputs = [torch.empty_like(each) for each in batch]
        self.taken += 1
        if self.taken <= WARM_UP:
            return _warm_up(partial(plain, *batch))
        if any(each.shape != place.shape for each, place in zip(batch, self.inputs, strict=True)):
            return plain(*batch)
        for place, each in zip(self.inputs, batch, strict=True):
            place.copy_(each)
        if self.replayed >= CHECKED:
            self.replay()
            return self.outputs
        return self._checked(plain, _State(model, objective, optimizer))

    def _checked(self, plain: Callable, state: _State):
        """A replayed step if it does what the step itself does from the same weights, else that step."""
        try:
            if self.replay is None:
                state.optimizer.zero_grad()  # the recording must own its gradients
                self.replay, self.outputs = _record(partial(plain, *self.inputs))
                state.restore()
            self.replay()
            found = [each.clone() for each in (*state.tensors(), *_flat(self.outputs))]
        except RuntimeError as error:
            self.problem = f"it cannot be recorded ({str(error).splitlines()[0]})"
        state.restore()
        outputs = plain(*self.inputs)
        if self.problem is None and not state.agrees(found, _flat(outputs)):
            self.problem = "its replay does something else"
        if self.problem is not None:
            self.replay = self.outputs = None
            warnings.warn(f"the training step runs as it is, not as a CUDA graph: {self.problem}", stacklevel=4)
        self.replayed += 1
        return outputs


class _State:
    """All that a step changes, as it was; it is put back in place, where a recording expects it."""

    def __init__(self, model: nn.Module, objective: nn.Module, optimizer: torch.optim.Optimizer):
        self.model, self.objective, self.optimizer = model, objective, optimizer
        self.before = [each.clone() for each in self.tensors()]
        self.kept = self._of_python()

    def _of_python(self) -> dict:
        """What a loss keeps outside of tensors, like the position of a stream of random numbers."""
        return {key: value for key, value in self.objective.state_dict().items() if not isinstance(value, Tensor)}

    def tensors(self) -> list[Tensor]:
        modules = [*self.model.state_dict().values(), *self.objective.state_dict().values()]
        memory = [self.optimizer.state[each] for group in self.optimizer.param_groups for each in group["params"]]
        return [each for each in modules if isinstance(each, Tensor)] + [
            each for entry in memory for each in entry.values() if isinstance(each, Tensor)
        ]

    @torch.no_grad()
    def restore(self) -> None:
        for each, before in zip(self.tensors(), self.before, strict=True):
            each.copy_(before)
        self.objective.load_state_dict(self.kept, strict=False)

    def agrees(self, found: list[Tensor], outputs: list[Tensor]) -> bool:
        """Whether a replay that ended in `found` did what the step did, which ended in the present state."""
        if self._of_python() != self.kept:
            return False
        now = [*self.tensors(), *outputs]
        before = [*self.before, *map(torch.zeros_like, outputs)]
        for mine, theirs, start in zip(found, now, before, strict=True):
            if not mine.is_floating_point():
                if not torch.equal(mine, theirs):
                    return False
                continue
            mine, theirs, start = (each.double() for each in (mine, theirs, start))
            allowed = TOLERANCE * (theirs - start).norm() + 1e-5 * theirs.norm() + 1e-6
            if not (mine - theirs).norm() <= allowed and theirs.isfinite().all():
                return False
        return True


def _flat(outputs) -> list[Tensor]:
    logits, terms = outputs
    return [logits, *terms.values()]


def _record(run: Callable) -> tuple[Callable, object]:
    """(a function that repeats what `run` did on the GPU, its result)."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = run()
    return graph.replay, result


def _warm_up(run: Callable):
    """`run()` on another stream, as a recording will."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        result = run()
    torch.cuda.current_stream().wait_stream(aside)
    return result
