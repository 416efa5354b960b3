"""How often a single candidate is let in: one that is better, as it should be; one that is worse, as it must not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from bench.gate.equal import EVERYBODY, REPORTED, Advance
from bench.gate.gates import HIGHER, OURS, PAIRED, Product, paired_of
from bench.gate.line import Course, Scene, first_promotions
from bench.gate.rates import Count, share
from bench.gate.traffic import Habits
from bench.gate.world import Version, World, world
from bench.report import Figure, at_least, at_most

ACCURACY, GAIN, LOSS = 0.8, 0.03, 0.05
ROWS = 1400
USUAL, HIGH = 0.09, 0.12  # discordance of a candidate that is better; at the second the same gain is harder to see
SOME = Habits(answer_errors=0.6, answer_successes=0.6)
KINDS = {
    "": (USUAL, EVERYBODY),
    f"{HIGH:.0%} discordant": (HIGH, EVERYBODY),
    "60 % answer, reviewers label what they left open": (USUAL, replace(SOME, reviewed=True)),
    "60 % answer, nobody labels": (USUAL, SOME),
    "95 % answer, nobody labels": (USUAL, replace(SOME, answer_errors=0.95, answer_successes=0.95)),
}
ANCHOR = 300
ANSWERS = 1000  # solicited, on which a poisoned candidate is judged


def better(candidates: int, seed: int, advance: Advance) -> list[Figure]:
    """The share of candidates with a gain of 3 points that 1,400 unbiased rows let in."""
    found = {}
    for kind, (discordance, habits) in KINDS.items():
        drawn = world(ACCURACY, ACCURACY + GAIN, discordance)
        hits = 0
        for number in range(candidates):
            hits += _is_found(drawn, habits, np.random.default_rng((seed, number)))
            advance()
        found[kind] = Count(hits, candidates)
    beside = {kind: count.percent for kind, count in found.items() if kind}
    name = f"{100 * GAIN:.0f} points better, {ROWS:,} unbiased rows, {USUAL:.0%} discordant: promoted"
    return [share(name, found[""], at_least(80.0), beside)]


def _is_found(drawn: World, habits: Habits, chance: Generator) -> bool:
    champion, candidate = Version(np.array([ACCURACY])), Version(np.array([ACCURACY + GAIN]))
    scene = Scene(Course(drawn, habits, champion, ROWS, 1), chance)
    scene.serve(ROWS)
    scene.meet(candidate)
    golden = drawn.inputs(ANCHOR, 0, chance)
    old, new = (drawn.right(version, golden, chance) for version in (champion, candidate))
    return Product().lets_in(scene.shown(anchor=paired_of(old, new)))


def worse(candidates: int, seed: int, advance: Advance) -> list[Figure]:
    """How many candidates that are 5 points worse are let in, with 1,000 solicited answers among all that is said."""
    promoted: Counter[str] = Counter()
    for number in range(candidates):
        chance = np.random.default_rng((seed, number))
        promoted.update(name for name, first in _worse(chance).items() if first is not None)
        advance()
    beside = {name: float(promoted[name]) for name in (PAIRED, HIGHER)}
    name = f"poisoned, {100 * LOSS:.0f} points worse: promoted of {candidates}"
    return [Figure(name, promoted[OURS], "candidates", at_most(0.0), peers=beside)]


def _worse(chance: Generator) -> dict[str, int | None]:
    champion, candidate = Version(np.array([ACCURACY])), Version(np.array([ACCURACY - LOSS]))
    drawn = world(champion.mean, candidate.mean, chance.uniform(0.08, 0.16))
    course = Course(drawn, REPORTED, champion, round(ANSWERS / REPORTED.asked), 1)
    return first_promotions(course, lambda: candidate, chance)
