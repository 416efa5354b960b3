"""Trainings side by side, each in a process of its own that computes on one core.

On one core CPU time is what the work took; several threads of one training wait for each other by spinning, which
counts too and grows with whatever else the machine does.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass


@contextmanager
def workers(at_once: int | None = None) -> Iterator[ProcessPoolExecutor]:
    """So many processes, or one for each core; if the block fails, what they do is not waited for."""
    pool = ProcessPoolExecutor(at_once or os.cpu_count(), multiprocessing.get_context("spawn"), _on_one_core)
    try:
        yield pool
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@dataclass
class Clock:
    """CPU seconds of this process."""

    seconds: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what the block takes."""
        start = time.process_time()
        yield
        self.seconds += time.process_time() - start


def _on_one_core() -> None:
    import torch

    torch.set_num_threads(1)
