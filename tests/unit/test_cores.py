"""A training takes the cores that others leave, and one in any case."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from hypothesis import given
from hypothesis import strategies as some

from services.trainer.cores import Neighbours, free

WATCHED_S = 0.5
SPIN = "while True: pass"


@given(some.integers(1, 128), some.floats(0, 200))
def test_others_come_first_but_one_core_is_taken_in_any_case(cores: int, others: float) -> None:
    left = free(cores, others)
    assert 1 <= left <= cores
    assert left == 1 or left + others < cores + 1


def test_a_quiet_machine_is_taken_whole() -> None:
    assert [free(cores, 0.2) for cores in (1, 2, 16)] == [1, 2, 16]
    assert [free(2, others) for others in (0.5, 1.0, 2.0)] == [1, 1, 1]


def test_who_spins_on_all_cores_leaves_one() -> None:
    spinning = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(os.cpu_count() or 1)]
    try:
        neighbours, begin = Neighbours(), time.monotonic()
        while time.monotonic() < begin + WATCHED_S:
            pass  # as busy as a child that loads its base
        assert neighbours.free_cores() == 1
    finally:
        for process in spinning:
            process.kill()
            process.wait()
