"""Who says something of the champion's answers, and what the recorder makes of it.

Whether a word becomes evidence is asked of the recorder's own rules (`side_of`, `curate`), once for each kind of word,
since for an input that nobody spoke of before they depend on nothing else here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.random import Generator

from bench.gate.world import Bools, Floats, Inputs, Version, World
from services.recorder.curation import Case, curate
from services.recorder.heads import Member, side_of
from services.recorder.votes import Ruling, Vote
from shared.policy import Trust

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
STEP = 0.25  # of a propensity's log-odds, from one candidate to the next, when it drifts
FARTHEST = 3.0  # log-odds from where it began: 0.6 drifts between 7 and 97 %


@dataclass(frozen=True)
class Habits:
    """Shares of predictions: of how many feedback is asked for; of the others, how many errors and successes are told.

    All that are asked answer, unless `answer_errors` and `answer_successes` say otherwise. `drifts`: propensities to
    volunteer, and to answer, walk at random, in each slice by themselves, from other starting points. `audited`: the
    share of predictions that reviewers label. `reviewed`: they also label what users left open where versions differ.
    """

    asked: float = 1.0
    errors: float = 0.0
    successes: float = 0.0
    answer_errors: float = 1.0
    answer_successes: float = 1.0
    drifts: bool = False
    audited: float = 0.0
    reviewed: bool = False


@dataclass(frozen=True)
class Log:
    """All that was said or asked: of which inputs, and whether the champion was right.

    And whether users were asked, whether they said anything, and whether a reviewer labelled it.
    """

    inputs: Inputs
    champion: Bools
    solicited: Bools
    said: Bools
    audited: Bools

    @property
    def heard(self) -> Bools:
        """What somebody said something of."""
        return self.said | self.audited

    def __len__(self) -> int:
        return len(self.inputs)

    def newest(self, chosen: Bools, count: int) -> Bools:
        """Which of the chosen rows are the newest ones, `count` at most."""
        return chosen & (np.cumsum(chosen[::-1])[::-1] <= count)

    def where(self, chosen: Bools) -> Log:
        """Some rows."""
        columns = (self.champion, self.solicited, self.said, self.audited)
        return Log(self.inputs.where(chosen), *(column[chosen] for column in columns))

    def then(self, more: Log) -> Log:
        """These rows, and newer ones."""
        return Log(
            self.inputs.then(more.inputs),
            *(
                np.concatenate([getattr(self, name), getattr(more, name)])
                for name in ("champion", "solicited", "said", "audited")
            ),
        )

    def judged_by(self, champion: Bools) -> Log:
        """The same rows under another champion."""
        return replace(self, champion=champion)


class Traffic:
    """The users of one model, over time."""

    def __init__(self, world: World, habits: Habits, chance: Generator) -> None:
        """Draw where their habits begin."""
        self._world, self._habits, self._chance = world, habits, chance
        self._users = 0
        shape = (2, 2, world.slices)  # to volunteer, to answer; of an error, of a success
        self._drift = chance.normal(0, 1, shape) if habits.drifts else np.zeros(shape)

    def serve(self, champion: Version, predictions: int) -> Log:
        """What is said of so many new predictions."""
        habits, chance = self._habits, self._chance
        inputs = self._world.inputs(predictions, self._users, chance)
        self._users += predictions
        right = self._world.right(champion, inputs, chance)
        asked = chance.random(predictions) < habits.asked
        told, answered = self._propensities()
        tells, answers = (np.where(right, *share[::-1, inputs.slice]) for share in (told, answered))
        said = chance.random(predictions) < np.where(asked, answers, tells)
        audited = chance.random(predictions) < habits.audited if habits.audited else np.zeros_like(said)
        self._walk()
        return Log(inputs, right, asked, said, audited).where(said | asked | audited)

    def _propensities(self) -> Floats:
        """To volunteer and to answer; of an error, and of a success; in each slice. Who always answers always does."""
        habits = self._habits
        shares = [[habits.errors, habits.successes], [habits.answer_errors, habits.answer_successes]]
        start = np.clip(shares, 1e-9, 1 - 1e-12)[..., None]
        odds: Floats = start / (1 - start) * np.exp(self._drift)
        return odds / (1 + odds)

    def _walk(self) -> None:
        if self._habits.drifts:
            moved = self._drift + self._chance.normal(0, STEP, self._drift.shape)
            self._drift = np.clip(moved, -FARTHEST, FARTHEST)


def evidence(log: Log) -> Bools:
    """The rows that the recorder puts where the gate reads: the others may teach, and never judge."""
    judges = np.zeros_like(log.said) if not log.audited.any() else log.audited & is_audit_evidence()
    allowed = {
        (solicited, right): is_evidence(solicited, not right) for solicited in (True, False) for right in (True, False)
    }
    table = np.array([[allowed[solicited, right] for right in (False, True)] for solicited in (False, True)])
    chosen: Bools = log.said & table[log.solicited.astype(int), log.champion.astype(int)]
    return chosen | judges


def is_evidence(solicited: bool, wrong: bool) -> bool:
    """Whether the first word on an input, which names its target, makes it a row of the holdout."""
    side = side_of([Member("i", "feedback", "", (MOMENT, "f"), solicited)])
    vote = Vote("f", MOMENT, "p", "u", "correction", "target", solicited, wrong)
    return curate(Case("feedback", side, votes=(vote,)), {}, Trust()).status == "holdout"


def is_audit_evidence() -> bool:
    """Whether a reviewer's word on an input that was drawn makes it a row of the holdout."""
    side = side_of([Member("i", "feedback", "", (MOMENT, "p"), solicited=True)])
    return curate(Case("feedback", side, ruling=Ruling("relabel", "target")), {}, Trust()).status == "holdout"
