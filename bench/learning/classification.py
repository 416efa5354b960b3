"""Classification: CLINC150 in increments beside training anew on everything, a few rows of each label, and all of them.

Ours is what the trainer does by default. Who trains anew does so after each increment on all lessons so far, with the
first seed; with others once on all lessons there are, earlier increments being taken to cost the same. In which order
lessons come means nothing to it, so that it stands beside both streams. Other people's trainers learn all lessons once.
«All labels» and «known then»: see `bench.learning.outcomes`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.learning import STREAMS, growth, latency, noise, others, trainers
from bench.learning.course import DATA, Course, Size, course, shots
from bench.learning.figures import REGRESSION, SETFIT, of_all, of_few, of_speed, of_stream
from bench.learning.jobs import workers
from bench.learning.outcomes import JOINT, NAIVE, OURS, Learned, Retrained
from bench.learning.sequence import from_base, go_through, train_anew
from bench.report import Figure, Tell
from shared.errors import UnavailableError
from shared.policy import Training


@dataclass(frozen=True)
class Plan:
    """How much is learned, how often, and what of it has a bar: the bars are for all of the data."""

    stream: Size
    seeds: int
    few: Size
    draws: int
    iterations: int
    grown: Size
    history: int
    turns: int
    requests: int
    noise: Size
    config: Training = field(default_factory=Training)
    whole: bool = True
    data: Path = DATA


GROWING = STREAMS[1]  # the stream that training anew goes through: it tells of backward transfer too
WHOLE = Plan(
    Size(),
    seeds=3,
    few=Size(rows=10),
    draws=3,
    iterations=20,
    grown=Size(rows=12),
    history=200_000,
    turns=5,
    requests=20,
    noise=Size(labels=50, rows=20),
)
QUICK = Plan(
    Size(labels=8, rows=10, tests=10, increments=3),
    seeds=1,
    few=Size(labels=8, rows=8, tests=10),
    draws=1,
    iterations=1,
    grown=Size(labels=10, rows=12),
    history=10_000,
    turns=1,
    requests=2,
    noise=Size(labels=8, rows=8, tests=10),
    config=Training(min_replay=24),
    whole=False,
)


@dataclass
class Session:
    """Trainings under way, each told of when it ends."""

    pool: ProcessPoolExecutor
    tell: Tell

    def begin(self, name: str, work: Callable[..., Any], *given: Any) -> Future[Any]:
        """Begin one as soon as a core is free."""
        future = self.pool.submit(work, *given)
        future.add_done_callback(
            lambda done: self.tell(f"{name}: {'stopped' if done.cancelled() else done.exception() or done.result()}")
        )
        return future


Runs = dict[str, list[Future[Learned]]]
Peers = dict[str, Future[Retrained]]


def measure(quick: bool, tell: Tell, stream: str | None, data: Path | None) -> list[Figure]:
    """All figures, or those of one stream."""
    plan = replace(QUICK if quick else WHOLE, data=data or DATA)
    with workers() as pool:
        session = Session(pool, tell)
        if stream:
            anew = _anew(session, plan, stream)
            return of_stream(stream, together(_through(session, plan, stream), anew), plan.whole)
        figures = _learned(session, plan)
    return figures + latency.figures(
        latency.latency(plan.data, plan.requests, tell)
    )  # last, on a machine that is at rest


def _learned(session: Session, plan: Plan) -> list[Figure]:
    """The streams, all lessons at once, a few of them, and an increment after many."""
    anew = _anew(session, plan, GROWING)  # begun first, as it takes longest
    runs = {one: _through(session, plan, one) for one in STREAMS}
    pythons = others.prepare(session.tell)
    begun = _others(session, plan, pythons)
    draws = [_draw(session, plan, seed, pythons) for seed in range(plan.draws)]
    grown = session.begin(
        f"{plan.history:,} examples",
        growth.growth,
        plan.data,
        plan.grown,
        plan.config,
        plan.history,
        plan.turns,
    )
    spoiled = [
        session.begin(f"noise, seed {seed}", noise.noise, plan.data, seed, plan.noise, plan.config)
        for seed in range(plan.seeds)
    ]
    learned = {one: together(run, anew) for one, run in runs.items()}
    joint, ours = ([run[way] for run in learned[STREAMS[0]]] for way in (JOINT, OURS))
    peers, few = _done(begun), [_done(draw) for draw in draws]
    return [
        *(figure for one, found in learned.items() for figure in of_stream(one, found, plan.whole)),
        *of_all(joint, ours, peers, plan.whole),
        of_speed(few[0][OURS], peers),
        *of_few(few, plan.few.rows or 0, plan.whole),
        *noise.figures([one.result() for one in spoiled]),
        *growth.figures(grown.result(), plan.history),
    ]


def _through(session: Session, plan: Plan, stream: str) -> Runs:
    """Ours, with replay and without, through one stream with each seed."""
    return {
        way: [
            session.begin(f"{stream}, seed {seed}, {way}", go_through, way, _course(plan, stream, seed), plan.config)
            for seed in range(plan.seeds)
        ]
        for way in (OURS, NAIVE)
    }


def _anew(session: Session, plan: Plan, stream: str) -> list[Future[Learned]]:
    """Training anew through one stream with the first seed, and on all lessons with the others."""
    return [
        session.begin(f"seed {seed}, {JOINT}", train_anew, _course(plan, stream, seed), plan.config, seed == 0)
        for seed in range(plan.seeds)
    ]


def _course(plan: Plan, stream: str, seed: int) -> Course:
    return course(stream, seed, plan.stream, plan.data)


def _others(session: Session, plan: Plan, pythons: Mapping[str, Path | None]) -> Peers:
    """What others make of all the lessons of a stream."""
    given = course(STREAMS[0], 0, plan.stream, plan.data)
    everything = (given.everything, given.test)
    begun = {
        name: session.begin(name, trainers.retrain, recipe, *everything) for name, recipe in trainers.RECIPES.items()
    }
    if python := pythons[others.SCIKIT]:
        begun[REGRESSION] = session.begin(REGRESSION, others.regress, python, *everything)
    return begun


def _draw(session: Session, plan: Plan, seed: int, pythons: Mapping[str, Path | None]) -> Peers:
    """What ours and others make of a few rows of each label; SetFit once, since it takes so long."""
    given = shots(seed, plan.few, plan.data)
    few, name = (given.everything, given.test), f"{plan.few.rows} rows a label, draw {seed}"
    begun = {OURS: session.begin(f"{name}, ours", from_base, given, plan.config)}
    if python := pythons[others.SCIKIT]:
        begun[REGRESSION] = session.begin(f"{name}, {REGRESSION}", others.regress, python, *few)
    if seed == 0 and (python := pythons[others.SETFIT]):
        begun[SETFIT] = session.begin(f"{name}, {SETFIT}", others.setfit, python, *few, plan.iterations)
    return begun


def together(runs: Runs, anew: Sequence[Future[Learned]]) -> list[dict[str, Learned]]:
    """What came of each seed's ways."""
    first = anew[0].result()
    joint = [first] + [replace(one.result(), cpu_s=(*first.cpu_s[:-1], *one.result().cpu_s)) for one in anew[1:]]
    return [
        {JOINT: joint[seed], **{way: begun[seed].result() for way, begun in runs.items()}} for seed in range(len(anew))
    ]


def _done(begun: Peers) -> dict[str, Retrained]:
    """What came of them; a peer that failed is not there."""
    found = {}
    for name, one in begun.items():
        with contextlib.suppress(UnavailableError):
            found[name] = one.result()
    return found
