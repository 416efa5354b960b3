"""A canary that is worse, before the users whom it serves: how soon the product's sequential test stops it."""

from __future__ import annotations

from collections import Counter

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
Replies = tuple[float, float]  # shares of a version's errors, and of its successes, that those who are asked answer
ALL, EAGER, SHY = (1.0, 1.0), (0.9, 0.6), (0.6, 0.9)


def figures(trials: int, seed: int, advance: Advance) -> list[Figure]:
    """The share of canaries 3 points worse that are stopped in time, under the policy's defaults and otherwise.

    «By proof» counts those alone that the test called worse, not such as were behind at the trial's end.
    """
    found: Counter[str] = Counter()
    most = Rules().canary_answers
    for number in range(trials):
        chance = np.random.default_rng((seed, number))
        found["stopped"] += tried(-LOSS, HALF, most, chance).decision == "stop"
        found["by proof"] += is_proved(tried(-LOSS, HALF, ANSWERS, chance))
        found[f"{FEW:.0%} of users"] += tried(-LOSS, FEW, ANSWERS, chance).decision == "stop"
        found["equally good: called worse"] += is_proved(tried(0.0, HALF, ANSWERS, chance))
        found[f"{told(EAGER)} answer"] += tried(-LOSS, HALF, most, chance, EAGER, EAGER).decision == "stop"
        found[f"of the canary {told(SHY)}, of the champion {told(EAGER)}"] += (
            tried(-LOSS, HALF, most, chance, SHY, EAGER).decision == "stop"
        )
        advance()
    name = f"canary {100 * LOSS:.0f} points worse, half of the users: stopped before {ANSWERS:,} solicited answers"
    beside = {other: Count(hits, trials).percent for other, hits in found.items() if other != "stopped"}
    return [share(name, Count(found["stopped"], trials), at_least(90.0), beside)]


def is_proved(trial: Trial) -> bool:
    """Whether the test called the canary worse."""
    return trial.e_worse >= 1 / trial.alpha_stop


def told(replies: Replies) -> str:
    """The two shares in words."""
    return "{:.0%} on errors and {:.0%} on successes".format(*replies)


def tried(
    gain: float, part: float, answers: int, chance: Generator, of_canary: Replies = ALL, of_champion: Replies = ALL
) -> Trial:
    """One trial: users are drawn for the canary, each is asked once, and the test hears who answers in that order."""
    drawn = world(ACCURACY, ACCURACY + gain, DISCORDANCE)
    asked = round(answers / min(*of_canary, *of_champion))
    inputs = drawn.inputs(asked, 0, chance)
    old, new = (drawn.right(Version(np.array([ACCURACY + more])), inputs, chance) for more in (0.0, gain))
    canary = chance.random(asked) < part
    differ = (old != new) | (~old & ~new & (chance.random(asked) < OTHERWISE))
    right = np.where(canary, new, old)
    errors, successes = (np.where(canary, *both) for both in zip(of_canary, of_champion, strict=True))
    answered = chance.random(asked) < np.where(right, successes, errors)
    trial = Trial(part, answers=answers)
    columns = zip(canary.tolist(), right.tolist(), differ.tolist(), answered.tolist(), strict=True)
    for number, (on_trial, is_right, is_apart, speaks) in enumerate(columns):
        if speaks:
            trial.hear(on_trial, is_right, f"user-{number}", is_apart)
    return trial
