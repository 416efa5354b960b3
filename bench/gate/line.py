"""A line of candidates before several gates at once, under a champion whom users speak of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from bench.gate.gates import NAIVE, NOBODY, OURS, Doorkeeper, Product, Shown, Silent
from bench.gate.traffic import Habits, Log, Traffic, evidence
from bench.gate.world import Version, World
from services.evaluator.statistics import Paired
from shared.policy import Gate

OTHERWISE = 0.5  # of the inputs on which both are wrong, how many they answer differently
PARTS = 4  # of the time between two candidates, after each of which one that waits may be looked at again


@dataclass(frozen=True)
class Course:
    """What a sequence is made of: predictions before each candidate, and what the gates keep of the past."""

    world: World
    habits: Habits
    champion: Version
    predictions: int
    candidates: int
    rules: Gate = field(default_factory=Gate)


class Scene:
    """A champion and a candidate, and who of them was right on what was said."""

    def __init__(self, course: Course, chance: Generator) -> None:
        """Begin with nothing said; the candidate is the champion itself."""
        self._course, self._chance = course, chance
        self._traffic = Traffic(course.world, course.habits, chance)
        self.champion = self.candidate = course.champion
        self.log = self._traffic.serve(course.champion, 0)
        self._answers = self.log.champion

    def serve(self, predictions: int) -> Log:
        """Let the champion answer so many more; returns what is said of them."""
        fresh = self._traffic.serve(self.champion, predictions)
        answers = self._course.world.right(self.candidate, fresh.inputs, self._chance)
        log, answered = self.log.then(fresh), np.concatenate([self._answers, answers])
        kept = log.newest(evidence(log), self._course.rules.window)
        for chosen in (log.heard, ~log.heard):
            kept |= log.newest(chosen, self._course.rules.window)
        self.log, self._answers = log.where(kept), answered[kept]
        return fresh

    def meet(self, candidate: Version) -> None:
        """Let another candidate answer what the log has."""
        self.candidate = candidate
        self._answers = self._course.world.right(candidate, self.log.inputs, self._chance)

    def crown(self) -> None:
        """The candidate is the champion from now on."""
        self.champion, self.log = self.candidate, self.log.judged_by(self._answers)

    def shown(self, is_new: bool = True, anchor: Paired = NOBODY) -> Shown:
        """What gates may look at now."""
        log, window = self.log, self._course.rules.window
        mine = log.newest(evidence(log), window)
        unheard = log.newest(~log.heard & (np.cumsum(mine) > 0), window)
        apart = log.champion != self._answers
        if unheard.any():  # two that are wrong may say different things
            apart |= ~log.champion & ~self._answers & (self._chance.random(len(log)) < OTHERWISE)
        if self._course.habits.reviewed:
            mine, unheard = mine | (unheard & apart), unheard & ~apart
        silent = Silent(log.heard, unheard & apart, log.audited, bool(unheard.sum() >= window))
        return Shown(log.champion, self._answers, log.inputs.user, mine, anchor, is_new, silent)


def first_promotions(course: Course, rival: Callable[[], Version], chance: Generator) -> dict[str, int | None]:
    """Which candidate each gate promoted first, counted from 1; None when it let none in.

    All gates meet the same candidates under the same champion, and each leaves with its first promotion.
    """
    scene = Scene(course, chance)
    keepers: dict[str, Doorkeeper] = {OURS: Product(course.rules), **{name: make() for name, make in NAIVE.items()}}
    first: dict[str, int | None] = dict.fromkeys(keepers)

    def ask(number: int, is_new: bool) -> None:
        shown = scene.shown(is_new)
        for name in [name for name, keeper in keepers.items() if keeper.lets_in(shown)]:
            first[name] = number
            del keepers[name]

    for number in range(1, course.candidates + 1):
        for _ in range(PARTS):
            scene.serve(course.predictions // PARTS)
            ask(number - 1, is_new=False)
        scene.meet(rival())
        ask(number, is_new=True)
        if not keepers:
            break
    return first
