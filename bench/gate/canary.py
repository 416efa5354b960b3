"""A canary that is worse, before the users whom it serves: how soon the product's sequential test stops it."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from bench.gate.equal import Advance
from bench.gate.line import OTHERWISE
from bench.gate.rates import Count, share
from bench.gate.world import Version, world
from bench.report import Figure, at_least
from services.evaluator.sequential import Trial
from shared.policy import Trial as Rules

ACCURACY, LOSS, DISCORDANCE = 0.8, 0.03, 0.09
ANSWERS = 1500  # solicited, to both versions together
HALF, FEW = 0.5, 0.1  # of the users


def figures(trials: int, seed: int, advance: Advance) -> list[Figure]:
    """The share of canaries 3 points worse that are stopped in time, under the policy's defaults and otherwise.

    «By proof» counts those alone that the test called worse, not such as were behind at the trial's end.
    """
    found: dict[str, int] = {"stopped": 0, "by proof": 0, f"{FEW:.0%} of users": 0, "equally good: called worse": 0}
    for number in range(trials):
        chance = np.random.default_rng((seed, number))
        found["stopped"] += tried(-LOSS, HALF, Rules().canary_answers, chance).decision == "stop"
        found["by proof"] += is_proved(tried(-LOSS, HALF, ANSWERS, chance))
        found[f"{FEW:.0%} of users"] += tried(-LOSS, FEW, ANSWERS, chance).decision == "stop"
        found["equally good: called worse"] += is_proved(tried(0.0, HALF, ANSWERS, chance))
        advance()
    name = f"canary {100 * LOSS:.0f} points worse, half of the users: stopped before {ANSWERS:,} solicited answers"
    beside = {other: Count(hits, trials).percent for other, hits in found.items() if other != "stopped"}
    return [share(name, Count(found["stopped"], trials), at_least(90.0), beside)]


def is_proved(trial: Trial) -> bool:
    """Whether the test called the canary worse."""
    return trial.e_worse >= 1 / trial.alpha_stop


def tried(gain: float, part: float, answers: int, chance: Generator) -> Trial:
    """One trial: users are drawn for the canary, each says something once, and the test hears it in that order."""
    drawn = world(ACCURACY, ACCURACY + gain, DISCORDANCE)
    inputs = drawn.inputs(answers, 0, chance)
    old, new = (drawn.right(Version(np.array([ACCURACY + more])), inputs, chance) for more in (0.0, gain))
    canary = chance.random(answers) < part
    differ = (old != new) | (~old & ~new & (chance.random(answers) < OTHERWISE))
    trial = Trial(part, answers=answers)
    columns = zip(canary.tolist(), np.where(canary, new, old).tolist(), differ.tolist(), strict=True)
    for number, (on_trial, is_right, is_apart) in enumerate(columns):
        trial.hear(on_trial, is_right, f"user-{number}", is_apart)
    return trial
