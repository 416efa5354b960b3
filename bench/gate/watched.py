"""A new champion before users of whom some stay silent: how often the watch takes it back, as good as it was, or worse.

Who answers hangs on whether the champion was right. What the watch hears goes through the product's own `trials`; the
reviewers of an audit label all that is drawn for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.random import Generator

from bench.gate.canary import ACCURACY, DISCORDANCE, LOSS
from bench.gate.equal import SILENT, Advance
from bench.gate.gates import MOMENT
from bench.gate.line import OTHERWISE
from bench.gate.rates import Count, share
from bench.gate.world import Version, world
from bench.report import Figure, at_least, at_most
from services.evaluator import trials
from services.evaluator.answers import Answer, Asked
from services.evaluator.sequential import Watch
from services.evaluator.trials import ANSWERS, AUDITS, FAIR, Source
from shared.policy import Trial as Rules

Replies = tuple[float, float]  # shares of a champion's errors, and of its successes, that those who are asked answer
EVERYBODY, MOST, UNEVEN, FEW = (
    (1.0, 1.0),
    (0.98, 0.98),
    (SILENT.answer_errors, SILENT.answer_successes),
    (0.2, 0.05),
)
LEVEL = 5.0  # %


@dataclass(frozen=True)
class Kind:
    """A champion that is so much better than the one before, who answers, and what of it the watch hears."""

    gain: float
    replies: Replies
    source: Source
    answers: int = Rules().watch_answers


EQUAL = {
    "": Kind(0.0, UNEVEN, ANSWERS),
    "everybody answers": Kind(0.0, EVERYBODY, ANSWERS),
    "90 % and 60 %, gate.silence = fair": Kind(0.0, UNEVEN, FAIR),
    "20 % and 5 %, fair": Kind(0.0, FEW, FAIR),
    "20 % and 5 %, fair, though 3 points better": Kind(LOSS, FEW, FAIR),
}
WORSE = {
    "": Kind(-LOSS, EVERYBODY, ANSWERS),
    "98 % answer": Kind(-LOSS, MOST, ANSWERS),
    "90 % and 60 %": Kind(-LOSS, UNEVEN, ANSWERS),
    "1,000 audits": Kind(-LOSS, EVERYBODY, AUDITS, 1000),
}


def figures(watches: int, seed: int, advance: Advance) -> list[Figure]:
    """The share of champions that are rolled back, such as should not be and such as should."""
    found = dict.fromkeys([*EQUAL.values(), *WORSE.values()], 0)
    for number in range(watches):
        for kind in found:
            found[kind] += watch(kind, np.random.default_rng((seed, number))).worse
        advance()
    names = {
        f"champion as good as the one before, {UNEVEN[0]:.0%} of errors and {UNEVEN[1]:.0%} of successes answered:"
        " rolled back": (EQUAL, at_most(LEVEL)),
        f"champion {100 * LOSS:.0f} points worse, everybody answers: rolled back": (WORSE, at_least(90.0)),
    }
    return [
        share(
            name,
            Count(found[kinds[""]], watches),
            bar,
            {other: Count(found[kind], watches).percent for other, kind in kinds.items() if other},
        )
        for name, (kinds, bar) in names.items()
    ]


def watch(kind: Kind, chance: Generator) -> Watch:
    """One reign: users are asked one after the other until so many have answered, each once."""
    errors, successes = kind.replies
    asked = round(kind.answers / (errors * (1 - ACCURACY) + successes * ACCURACY))
    drawn = world(ACCURACY, ACCURACY + kind.gain, DISCORDANCE)
    inputs = drawn.inputs(asked, 0, chance)
    old, new = (drawn.right(Version(np.array([ACCURACY + more])), inputs, chance) for more in (0.0, kind.gain))
    differ = (old != new) | (~old & ~new & (chance.random(asked) < OTHERWISE))
    told = chance.random(asked) < np.where(new, successes, errors)
    answers: list[Answer] = []
    silent: list[Asked] = []
    right: dict[str, tuple[float, float]] = {}
    columns = zip(new.tolist(), old.tolist(), told.tolist(), differ.tolist(), strict=True)
    for number, (is_right, was_right, says, is_apart) in enumerate(columns):
        who, at = f"p{number}", MOMENT + timedelta(seconds=number)
        if says:
            answers.append(Answer(who, "", who, at, "new", is_right, ""))
            right[who] = is_right, was_right
        elif is_apart and kind.source is ANSWERS:
            silent.append(Asked(who, "", who, at))
    return trials.watched(answers, right, Rules(), kind.source, silent)
