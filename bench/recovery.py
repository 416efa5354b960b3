"""How long after kill -9 each program of a whole installation does its work again, one at a time, under steady traffic.

Everything runs on this machine as a user runs it: the supervisor, Kafka, all services, and a model that serves. The
log is filled first, since a restart that depends on its length shows only then. That a killed training ends in
the same version is `tests/kafka/test_trainer_crashes.py`; its length is the training's.
"""

from __future__ import annotations

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
from local.demo.place import on_this_machine
from local.demo.play import add_model
from local.demo.story import HELP_DESK, read_story
from local.programs import START_S
from local.readiness import is_ready
from nemesis.drain import drain
from nemesis.installation import Installation, installed, serving
from shared.errors import FatalError

APP, MODEL = "shop", "served"
PER_S = 200.0
PATIENCE_S = 120.0
CATCH_UP_S = 300.0
LOOK_S = 0.02
WHOLE_TOO = ("evaluator", "predictor")  # programs whose serving process is forked from another (shared/standby.py)
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
class Victim:
    """What is killed: the process of a program that does its work, or the whole program, where these differ."""

    program: str
    is_whole: bool = False

    def __str__(self) -> str:
        """Its name in the table."""
        return f"{self.program}, the whole program," if self.is_whole else self.program


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
        add_model(on_this_machine(here.run, here.ports), MODEL, story, key)
        users, asker = (Users(here.ports, key, MODEL, rows) for _ in range(2))
        tell(f"{plan.events:,} events onto the log")
        users.fill(plan.events)
        with scene(here, MODEL, asker) as watched:
            _await_caught_up(here, watched)
            tell(f"killing, at {PER_S:.0f} events a second")
            with users.going_on(PER_S):
                found = _rounds(watched, plan.rounds, tell)
    return [figure for victim, recoveries in found.items() for figure in figures_of(victim, recoveries)]


def _rounds(watched: Scene, rounds: int, tell: Tell) -> dict[Victim, list[Recovery]]:
    found: dict[Victim, list[Recovery]] = defaultdict(list)
    killed_at: dict[str, float] = {}
    victims = [Victim(name, whole) for name in WITNESSES for whole in (False, True) if not whole or name in WHOLE_TOO]
    for _ in range(rounds):
        for victim in victims:
            _await_settled(watched.here, victim.program, killed_at)
            found[victim].append(recovery := _recovery(watched, victim))
            killed_at[victim.program] = time.monotonic()
            tell(
                f"{victim} killed: ready after {recovery.ready_s:.1f} s, works after {recovery.works_s:.1f} s,"
                f" {recovery.cpu_s:.1f} s of CPU"
            )
    return found


def _recovery(watched: Scene, victim: Victim) -> Recovery:
    """Kill a program, and see it come back."""
    here, name = watched.here, victim.program
    program = here.programs[name]
    main = _main(here, name)
    process = main if victim.is_whole else psutil.Process(serving(main.pid))
    assert (process.pid == main.pid) == (victim.is_whole or name not in WHOLE_TOO), f"{name} has no standby"
    start = time.monotonic()
    process.kill()
    process.wait(PATIENCE_S)  # or its last breath might answer
    works = WITNESSES[name](watched)
    ready_s = _await(lambda: is_ready(program), f"{name} is not ready", start)
    works_s = _await(works, f"{name} does not work", start)
    return Recovery(ready_s, works_s, sum(map(_cpu_s, _begun(here, name, main.pid))))


def _begun(here: Installation, name: str, old: int) -> set[int]:
    """The processes of a program that are new since its kill: with the program's own one, if that was killed."""
    main = _main(here, name).pid
    return {serving(main)} | ({main} - {old})


def _cpu_s(pid: int) -> float:
    spent = psutil.Process(pid).cpu_times()
    return float(spent.user + spent.system)


def _main(here: Installation, name: str) -> psutil.Process:
    """The process that the supervisor started."""
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


def figures_of(victim: Victim, recoveries: list[Recovery]) -> list[Figure]:
    """The table's lines of one victim. The issue's bars are for what users wait for: the process that serves."""
    works, ready, cpu = ([getattr(one, name) for one in recoveries] for name in ("works_s", "ready_s", "cpu_s"))
    bar = None if victim.is_whole else at_most(BARS.get(victim.program, OTHERS_S))
    return [
        Figure(f"{victim} works again, median of {len(works)}", median(works), "s", bar, (min(works), max(works))),
        Figure("… its probe says that it can", median(ready), "s", None, (min(ready), max(ready))),
        Figure("… CPU of its start", median(cpu), "s", None, (min(cpu), max(cpu))),
    ]
