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
    knows nothing of numbers that Python holds. So some replays (1, 2, 3, 5, 9, 17, ...) are compared with the step
    itself, from the same weights. A step that cannot be recorded (a method that waits for the GPU, or counts in
    Python), or whose replay does something else, runs as it is from then on, with a warning.

    Attributes:
        problem: why steps are not replayed; None while they are.
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
            self.recorder = _Recorder(batch[0].device)
        self.taken += 1
        if self.taken <= WARM_UP:
            return self.recorder.aside(partial(plain, *batch))
        if any(each.shape != place.shape for each, place in zip(batch, self.inputs, strict=True)):
            return plain(*batch)
        for place, each in zip(self.inputs, batch, strict=True):
            place.copy_(each)
        self.replayed += 1
        if (self.replayed - 1) & (self.replayed - 2) == 0:
            return self._checked(plain, _State(model, objective, optimizer))
        self.replay()
        return self.outputs

    def _checked(self, plain: Callable, state: _State):
        """The step itself, after a replay from the same weights; the replay is given up if it did something else."""
        try:
            if self.replay is None:
                self.recorder.without_waiting(partial(plain, *self.inputs))
                state.restore()
                state.optimizer.zero_grad()  # the recording must own its gradients
                self.replay, self.outputs = self.recorder.record(partial(plain, *self.inputs))
                state.restore()
            self.replay()
            found = {name: each.clone() for name, each in (state.tensors() | _named(self.outputs)).items()}
        except RuntimeError as error:
            self.problem = f"it cannot be recorded ({str(error).splitlines()[0]})"
        state.restore()
        outputs = plain(*self.inputs)
        if self.problem is None:
            self.problem = state.difference(found, _named(outputs))
        if self.problem is not None:
            self.replay = self.outputs = None
            warnings.warn(f"the training step runs as it is, not as a CUDA graph: {self.problem}", stacklevel=4)
        return outputs


class _State:
    """All that a step changes, as it was; it is put back in place, where a recording expects it."""

    def __init__(self, model: nn.Module, objective: nn.Module, optimizer: torch.optim.Optimizer):
        self.model, self.objective, self.optimizer = model, objective, optimizer
        self.before = {name: each.clone() for name, each in self.tensors().items()}
        self.device = next(model.parameters()).device
        self.random = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else torch.get_rng_state()
        self.kept, self.numbers = self._of_python()

    def tensors(self) -> dict[str, Tensor]:
        parts = {"network": self.model.state_dict(), "losses": self.objective.state_dict()}
        parts |= {f"momentum {i}": entry for i, entry in enumerate(self.optimizer.state.values())}
        return {
            f"{part}.{name}": each
            for part, entries in parts.items()
            for name, each in entries.items()
            if isinstance(each, Tensor)
        }

    def _of_python(self) -> tuple[dict, list[dict]]:
        """What the losses keep outside of tensors: in their state dict, and as attributes that are numbers."""
        kept = {key: value for key, value in self.objective.state_dict().items() if not isinstance(value, Tensor)}
        return kept, [
            {name: value for name, value in vars(module).items() if isinstance(value, (int, float))}
            for module in self.objective.modules()
        ]

    @torch.no_grad()
    def restore(self) -> None:
        for name, each in self.tensors().items():
            if name in self.before:
                each.copy_(self.before[name])
        self.objective.load_state_dict(self.kept, strict=False)
        for module, numbers in zip(self.objective.modules(), self.numbers, strict=True):
            vars(module).update(numbers)
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(self.random, self.device)
        else:
            torch.set_rng_state(self.random)

    def difference(self, found: dict[str, Tensor], outputs: dict[str, Tensor]) -> str | None:
        """What tells a replay that ended in `found` from the step, which ended in the present state; None: nothing."""
        if self._of_python() != (self.kept, self.numbers):
            return "a loss counts in Python, which a recording does not repeat"
        for name, theirs in (self.tensors() | outputs).items():
            mine, start = found[name], self.before.get(name, torch.zeros_like(theirs))
            if theirs.is_floating_point():
                mine, theirs, start = (each.double() for each in (mine, theirs, start))
                allowed = TOLERANCE * (theirs - start).norm() + 1e-5 * theirs.norm() + 1e-6
                same = bool((mine - theirs).norm() <= allowed) or not theirs.isfinite().all()
            else:
                same = torch.equal(mine, theirs)
            if not same:
                gap = (mine.double() - theirs.double()).abs().max().item()
                return f'its replay does something else (by {gap:.2g} in "{name}")'
        return None


def _named(outputs) -> dict[str, Tensor]:
    logits, terms = outputs
    return {"logits": logits, **{f"term {name}": each for name, each in terms.items()}}


class _Recorder:
    """The CUDA side of it, for one device; everything but replays happens on one stream of its own."""

    def __init__(self, device: torch.device):
        self.device, self.stream = device, torch.cuda.Stream(device)

    def aside(self, run: Callable):
        """`run()` on the stream that it will be recorded on."""
        with torch.cuda.device(self.device):
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                result = run()
            torch.cuda.current_stream().wait_stream(self.stream)
        return result

    def without_waiting(self, run: Callable) -> None:
        """`run()`, or RuntimeError if it makes the host wait for the GPU: a recording broken off is hard to mend."""
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
        try:
            self.aside(run)
        finally:
            torch.cuda.set_sync_debug_mode(before)

    def record(self, run: Callable) -> tuple[Callable, object]:
        """(a function that repeats what `run` does on the GPU, its result)."""
        with torch.cuda.device(self.device):
            graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
            try:
                with torch.cuda.graph(graph, stream=self.stream):
                    result = run()
            except RuntimeError as error:
                cause = error
                while cause.__context__ is not None:  # the first error, not that of ending a broken recording
                    cause = cause.__context__
                raise RuntimeError(str(cause)) from error
            finally:
                torch.cuda.set_stream(before)
        return graph.replay, result
