"""How long after kill -9 each program of a whole installation does its work again, one at a time, under steady traffic.

Everything runs on this machine as a user runs it: the supervisor, Kafka, all services, and a model that serves. The
log is filled first, since a restart that depends on its length shows only then. That a killed training ends in
the same version is `tests/kafka/test_trainer_crashes.py`; its length is the training's.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from bench.report import Figure, Tell, at_most
from bench.users import Users
from bench.witnesses import WITNESSES, Scene, scene
from local.demo.play import add_model
from local.demo.story import HELP_DESK, read_story
from local.programs import START_S
from local.readiness import is_ready
from nemesis.drain import drain
from nemesis.installation import Installation, installed
from shared.errors import FatalError

APP, MODEL = "shop", "served"
PER_S = 200.0
PATIENCE_S = 120.0
CATCH_UP_S = 300.0
LOOK_S = 0.02
BARS = {"collector": 2.0, "kafka": 15.0}
OTHERS_S = 5.0


@dataclass(frozen=True)
class Plan:
    """How much lies on the log before the first kill, and how often each program is killed."""

    events: int
    rounds: int


WHOLE = Plan(events=200_000, rounds=5)
QUICK = Plan(events=20_000, rounds=2)


@dataclass(frozen=True)
class Recovery:
    """Seconds after a kill: until the probe answered ready, until the work was seen, and of CPU that this took."""

    ready_s: float
    works_s: float
    cpu_s: float = 0.0


def measure(quick: bool, tell: Tell) -> list[Figure]:
    """Seconds of each program."""
    plan = QUICK if quick else WHOLE
    story = read_story(HELP_DESK, 2000, 1)
    with tempfile.TemporaryDirectory(prefix="learnback-bench-") as name, installed(Path(name) / "run") as here:
        key, rows = here.key(APP), list(story.stream)
        add_model(here.run, here.ports, MODEL, story, key)
        users, asker = (Users(here.ports, key, MODEL, rows) for _ in range(2))
        tell(f"{plan.events:,} events onto the log")
        users.fill(plan.events)
        with scene(here, MODEL, asker) as watched:
            _await_caught_up(here, watched)
            tell(f"killing, at {PER_S:.0f} events a second")
            with users.going_on(PER_S):
                found = _rounds(watched, plan.rounds, tell)
    return [figure for program, recoveries in found.items() for figure in figures_of(program, recoveries)]


def _rounds(watched: Scene, rounds: int, tell: Tell) -> dict[str, list[Recovery]]:
    found: dict[str, list[Recovery]] = defaultdict(list)
    killed_at: dict[str, float] = {}
    for _ in range(rounds):
        for program in WITNESSES:
            _await_settled(watched.here, program, killed_at)
            found[program].append(recovery := _recovery(watched, program))
            killed_at[program] = time.monotonic()
            tell(
                f"{program} killed: ready after {recovery.ready_s:.1f} s, works after {recovery.works_s:.1f} s,"
                f" {recovery.cpu_s:.1f} s of CPU"
            )
    return found


def _recovery(watched: Scene, name: str) -> Recovery:
    """Kill a program, and see it come back."""
    program = watched.here.programs[name]
    process = _process(watched.here, name)
    start = time.monotonic()
    os.kill(process.pid, signal.SIGKILL)
    process.wait(PATIENCE_S)  # or its last breath might answer
    works = WITNESSES[name](watched)
    ready_s = _await(lambda: is_ready(program), f"{name} is not ready", start)
    works_s = _await(works, f"{name} does not work", start)
    spent = _process(watched.here, name).cpu_times()
    return Recovery(ready_s, works_s, spent.user + spent.system)


def _process(here: Installation, name: str) -> psutil.Process:
    return psutil.Process(next(life.pid for life in here.stack.lives() if life.name == name))


def _await_settled(here: Installation, next_one: str, killed_at: dict[str, float]) -> None:
    """Everything is ready, and the next victim has run so long that its end is no failed start."""
    _await(lambda: all(map(is_ready, here.programs.values())), "not everything is ready")
    time.sleep(max(0.0, killed_at.get(next_one, 0.0) + START_S + 1 - time.monotonic()))


def _await_caught_up(here: Installation, watched: Scene) -> None:
    """Recorder and aggregator have read what was filled in."""
    if problem := drain(here, CATCH_UP_S).problem:
        raise FatalError(problem)
    works = WITNESSES["aggregator"](watched)
    _await(works, "the aggregator does not catch up", patience_s=CATCH_UP_S)


def _await(
    holds: Callable[[], bool], otherwise: str, start: float | None = None, patience_s: float = PATIENCE_S
) -> float:
    """Seconds from `start`, or from now, until something holds."""
    start = time.monotonic() if start is None else start
    while not holds():
        if time.monotonic() - start > patience_s:
            raise FatalError(f"After {patience_s:.0f} s {otherwise}.")
        time.sleep(LOOK_S)
    return time.monotonic() - start


def figures_of(program: str, recoveries: list[Recovery]) -> list[Figure]:
    """The table's lines of one program."""
    works, ready, cpu = ([getattr(one, name) for one in recoveries] for name in ("works_s", "ready_s", "cpu_s"))
    bar = at_most(BARS.get(program, OTHERS_S))
    return [
        Figure(f"{program} works again, median of {len(works)}", median(works), "s", bar, (min(works), max(works))),
        Figure("… its probe says that it can", median(ready), "s", None, (min(ready), max(ready))),
        Figure("… CPU of its start", median(cpu), "s", None, (min(cpu), max(cpu))),
    ]
