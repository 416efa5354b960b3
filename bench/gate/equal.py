"""Worlds in which no candidate is better than the champion: whatever is promoted there is promoted falsely.

There is no golden anchor, so that the test of superiority bears it alone. A sequence's discordance is drawn between
4 and 16 %.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.random import Generator

from bench.gate.gates import HIGHER, OURS, PAIRED
from bench.gate.line import Course, first_promotions
from bench.gate.rates import Count, share
from bench.gate.traffic import Habits
from bench.gate.world import Version, world
from bench.report import Figure, at_most
from shared.policy import Gate

ACCURACY = 0.8
DISCORDANCE = (0.04, 0.16)
SLICES = (0.65, 0.75, 0.8, 0.85, 0.95)  # accuracies, of mean ACCURACY
BOUND = 0.5  # of what is not difficulty, the part that ties a version to a user
TILT = 0.04  # what a candidate wins in one slice and loses in another
ASKED = 200  # fresh solicited answers before each candidate
EVERYBODY = Habits()
SILENT = Habits(answer_errors=0.9, answer_successes=0.6)  # drawn at random, and not answered so
REPORTED = Habits(asked=0.1, errors=0.6, successes=0.05)
MOST = 5.0  # % of sequences: the gate's alpha

Advance = Callable[[], None]


@dataclass(frozen=True)
class Equal:
    """One world of equal candidates: what the table calls it, who says what, and how it differs from the first one."""

    title: str
    habits: Habits = EVERYBODY
    rows_per_user: int = 1
    sliced: bool = False
    promised: bool = True  # that the gate holds its level there
    rules: Gate = field(default_factory=Gate)

    @property
    def predictions(self) -> int:
        """Before each candidate."""
        return round(ASKED / self.habits.asked)

    def course(self, candidates: int, chance: Generator) -> Course:
        """What one sequence is made of."""
        bound = BOUND if self.rows_per_user > 1 else 0.0
        drawn = world(ACCURACY, ACCURACY, chance.uniform(*DISCORDANCE), bound, self.rows_per_user)
        champion = Version(np.full(1, ACCURACY))
        if self.sliced:
            drawn, champion = replace(drawn, slices=len(SLICES)), Version(np.array(SLICES))
        return Course(drawn, self.habits, champion, self.predictions, candidates, self.rules)

    def rival(self, champion: Version, chance: Generator) -> Version:
        """As good as the champion; where there are slices, better in one and as much worse in another."""
        if not self.sliced:
            return champion
        accuracy = champion.accuracy.copy()
        better, worse = chance.permutation(len(accuracy))[:2]
        accuracy[better] += TILT
        accuracy[worse] -= TILT
        return Version(accuracy)


WORLDS = {
    "equal": Equal("equal, errors independent given the input"),
    "reported": Equal("equal, 60 % of errors and 5 % of successes reported", REPORTED),
    "drifting": Equal("equal, the same drifting and differing by slice", replace(REPORTED, drifts=True), sliced=True),
    "users": Equal("equal, users with 10 rows each", rows_per_user=10),
    "silent": Equal("equal, of those asked 90 % answer on errors, 60 % on successes", SILENT),
    "silent-drifting": Equal(
        "equal, the same drifting and differing by slice", replace(SILENT, drifts=True), sliced=True
    ),
    "silent-audited": Equal(
        "equal, the first of these, and half is labelled by reviewers", replace(SILENT, audited=0.5)
    ),
    "silent-trusted": Equal(
        "equal, 90 % and 60 %, gate.silence = fair", SILENT, rules=Gate(silence="fair"), promised=False
    ),
}


def figures(kind: Equal, sequences: int, candidates: int, seed: int, advance: Advance) -> list[Figure]:
    """The share of sequences with any promotion, in %, and beside it what the naive gates do on what was reported."""
    promoted: Counter[str] = Counter()
    for number in range(sequences):
        chance = np.random.default_rng((seed, number))
        promoted.update(name for name, first in run(kind, candidates, chance).items() if first is not None)
        advance()
    peers = {name: Count(promoted[name], sequences).percent for name in (PAIRED, HIGHER)}
    return [
        share(
            f"{kind.title}: any promotion",
            Count(promoted[OURS], sequences),
            at_most(MOST) if kind.promised else None,
            peers,
        )
    ]


def run(kind: Equal, candidates: int, chance: Generator) -> dict[str, int | None]:
    """One sequence: which candidate each gate promoted first."""
    course = kind.course(candidates, chance)
    return first_promotions(course, lambda: kind.rival(course.champion, chance), chance)
