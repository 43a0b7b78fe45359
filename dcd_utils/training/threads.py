"""How many threads training uses on a CPU: all of PyTorch's, or one while others want the cores.

Threads that share an operation wait for each other at its end, hundreds of times in a step. Where another program has
taken the core of one, all wait for it, and together they can be more than ten times slower than one alone.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

SHORT, LONG = 0.05, 0.2  # seconds that a probe takes with either number
HOLD = 5.0  # seconds for which its answer holds
WORTH = 1.2  # all threads are taken where they compute this many times as fast as one


class _Here(threading.local):
    """The choice within a Python thread; PyTorch's number of threads belongs to one as well."""

    most = 1  # the caller's number within `fastest`; 1: nothing is chosen
    several: bool | None = None  # all of them, and not one
    until = 0.0
    left = 0  # cores that others need, who work for this thread


_here = _Here()


@contextmanager
def fastest(device: torch.device) -> Iterator[None]:
    """Within this context `settle` chooses how many threads PyTorch has; afterwards it has as many as before.

    It chooses between one and as many as there are, which OMP_NUM_THREADS or torch.set_num_threads decides. Nothing is
    chosen, nor anything timed, where that is one, or where the device is no CPU.
    """
    before, outer = torch.get_num_threads(), _here.most
    if device.type != "cpu" or before == outer == 1:
        yield
        return
    _here.most, _here.left = max(before, outer), 0
    try:
        settle()
        yield
    finally:
        _here.most = outer
        torch.set_num_threads(before)


def settle() -> None:
    """To be called between two steps: every few seconds, find out whether one thread or all are faster now. A short
    probe can be wrong where others come and go, so that one that speaks for a change is repeated at length."""
    if _here.most == 1:
        return
    most = max(1, _here.most - _here.left)
    if most > 1 and time.monotonic() >= _here.until:
        if _pays(SHORT) != _here.several:
            _here.several = _pays(LONG)
        _here.until = time.monotonic() + HOLD
    torch.set_num_threads(most if _here.several else 1)


def leave(cores: float) -> None:
    """Leave so many cores, rounded, to those who read images, from the next `settle` on: a probe cannot tell, as they
    pause while they are ahead."""
    _here.left = round(cores)


def _pays(seconds: float) -> bool:
    return speed(_here.most, seconds) > WORTH * speed(1, seconds)


def speed(threads: int, seconds: float) -> float:
    """Return how often per second so many threads finish an operation of the size of a small network's."""
    torch.set_num_threads(threads)
    numbers, result = torch.ones(2, 1 << 19)
    start, count, passed = time.perf_counter(), 0, 0.0
    while passed < seconds:
        torch.exp(numbers, out=result)
        count, passed = count + 1, time.perf_counter() - start
    return count / passed
