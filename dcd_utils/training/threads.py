"""How many threads training uses on a CPU: all of PyTorch's, or one while others want the cores.

Threads that share an operation wait for each other at its end, hundreds of times in a step. Where another program has
taken the core of one, all wait for it, and together they are up to ten times slower than one alone.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

WINDOW, HOLD = 0.05, 5.0  # seconds that a probe takes with either number, and for which its answer holds
WORTH = 1.2  # all threads are taken where they compute this many times as fast as one


class _Here(threading.local):
    """The choice within a Python thread; PyTorch's number of threads belongs to one as well."""

    most = 1  # the caller's number within `fastest`; 1: nothing is chosen
    votes = 1  # 2: all threads. The first probe decides; later, one against them is enough, and two for them are needed
    until = 0.0


_here = _Here()


@contextmanager
def fastest(device: torch.device, fixed: bool = False) -> Iterator[None]:
    """Within this context `settle` chooses how many threads PyTorch has; afterwards it has as many as before.

    It chooses between one and as many as there are, which OMP_NUM_THREADS or torch.set_num_threads decides. Nothing is
    chosen, nor anything timed, where that is one, where the device is no CPU, or where the number is `fixed`.

    The number decides the last bits of a training (docs/speed.md).
    """
    before, outer = torch.get_num_threads(), _here.most
    if fixed or device.type != "cpu" or before == outer == 1:
        yield
        return
    _here.most = max(before, outer)
    try:
        settle()
        yield
    finally:
        _here.most = outer
        torch.set_num_threads(before)


def settle() -> None:
    """To be called between two steps: every few seconds, find out whether one thread or all are faster now."""
    if _here.most == 1:
        return
    if time.monotonic() >= _here.until:
        pays = speed(_here.most) > WORTH * speed(1)
        _here.votes = min(_here.votes + 1, 2) if pays else 0
        _here.until = time.monotonic() + HOLD
    torch.set_num_threads(_here.most if _here.votes == 2 else 1)


def speed(threads: int) -> float:
    """Return how often per second so many threads finish an operation of the size of a small network's."""
    torch.set_num_threads(threads)
    numbers, result = torch.ones(2, 1 << 19)
    start, count, seconds = time.perf_counter(), 0, 0.0
    while seconds < WINDOW:
        torch.exp(numbers, out=result)
        count, seconds = count + 1, time.perf_counter() - start
    return count / seconds
