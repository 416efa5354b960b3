"""How many cores to train on: those that others leave free.

The threads of one product wait for the slowest. When one has lost its core to another process the others spin, so that
a second thread on a busy machine makes training many times slower, not faster (docs/log.md).
"""

from __future__ import annotations

import os
import time

import psutil

ALMOST = 0.3  # of a core: what the rest of an installation takes while little happens does not keep a thread away


class Neighbours:
    """What other processes take of the cores, from now on until asked."""

    def __init__(self) -> None:
        """Begin to look."""
        self._start, self._busy, self._own = time.perf_counter(), _busy_s(), time.process_time()

    def free_cores(self) -> int:
        """Cores that were free for this process all the while, at least one."""
        seconds = max(1e-9, time.perf_counter() - self._start)
        others = max(0.0, _busy_s() - self._busy - (time.process_time() - self._own)) / seconds
        return free(_cores(), others)


def free(cores: int, others: float) -> int:
    """The cores that are left when others take so many, at least one."""
    return max(1, min(cores, int(cores - others + ALMOST)))


def _busy_s() -> float:
    """Seconds for which the machine's cores did not idle, of all processes together."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
