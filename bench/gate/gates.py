"""Gates side by side: the product's own, and the naive ones beside it.

The product's is asked as the evaluator asks it: `gate.judge` on the newest rows of the holdout that its window holds,
with what the champion's reign has spent, and again when `retest` says that the candidate waits and evidence has grown.
The naive ones see every row that was reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import numpy as np

from bench.gate.world import Bools, Ints
from schemas.events import CandidateTrained, Check, ModelStateChanged, VerdictReached
from services.evaluator import gate, retest
from services.evaluator.examiner import verdict_of
from services.evaluator.ground import Silence
from services.evaluator.statistics import Paired, exact_p
from shared.policy import Gate

OURS, PAIRED, HIGHER = "gate", "paired test", "higher wins"
NOBODY = Paired((), (), ())
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
CHAMPION = ModelStateChanged(
    event_id="state",
    occurred_at=MOMENT,
    source="bench",
    model="bench",
    alias="champion",
    task="classification",
    base="bench",
    version="champion",
    manifest_sha256="0" * 64,
    decision="bench",
    reason="The bench begins with it.",
)
CANDIDATE = CandidateTrained(
    event_id="candidate",
    occurred_at=MOMENT,
    source="bench",
    request_id="request",
    model="bench",
    task="classification",
    base="bench",
    version="candidate",
    parent=CHAMPION.version,
    trigger="examples",
    requested_by="bench",
    manifest_sha256="0" * 64,
)
LINEAGE = gate.parentage(CANDIDATE.parent, CHAMPION.version)


@dataclass(frozen=True)
class Silent:
    """Which rows somebody spoke of, where those who were asked did not and the versions differ, and the audits.

    `unbounded`: there are more of the silent than were looked at.
    """

    heard: Bools
    apart: Bools
    audited: Bools
    unbounded: bool = False


@dataclass(frozen=True)
class Shown:
    """What a gate may look at: who was right on which row, whose row it is, whether it may judge, and the anchor.

    `is_new` is False when the gate has seen this candidate, on fewer rows. Who is `silent` may not be looked at by who
    was right.
    """

    champion: Bools
    candidate: Bools
    users: Ints
    evidence: Bools
    anchor: Paired = NOBODY
    is_new: bool = True
    silent: Silent | None = None

    @property
    def counts(self) -> tuple[int, int]:
        """Gains and losses over all rows that somebody spoke of."""
        heard = self.silent.heard if self.silent else True
        gains, losses = self.candidate & ~self.champion, self.champion & ~self.candidate
        return int((gains & heard).sum()), int((losses & heard).sum())

    @property
    def silence(self) -> Silence:
        """What the product is told of those who are silent."""
        if self.silent is None:
            return Silence()
        users = tuple(f"u{user}" for user in self.users[self.silent.apart].tolist())
        audits = tuple(np.flatnonzero(self.silent.audited[self.evidence]).tolist())
        return Silence(users, audits, self.silent.unbounded)


class Doorkeeper(Protocol):
    """What decides whether a candidate becomes champion."""

    def lets_in(self, shown: Shown) -> bool:
        """Whether this candidate becomes champion."""


@dataclass
class Product:
    """The product's gate over the reigns of one model."""

    rules: Gate = field(default_factory=Gate)
    tested: int = 0
    last: VerdictReached | None = None
    further: tuple[Check, ...] = ()  # checks beside the paired ones

    def lets_in(self, shown: Shown) -> bool:
        """Judge, if there is reason to; a promotion begins a new reign."""
        if not shown.is_new and not self._is_due(int(shown.evidence.sum())):
            return False
        mine = shown.evidence
        paired = paired_of(shown.champion[mine], shown.candidate[mine], shown.users[mine])
        silence = shown.silence
        judgement = gate.judge(paired, shown.anchor, LINEAGE, self.tested, self.rules, self.further, silence)
        self.last = verdict_of(CANDIDATE, CHAMPION, judgement, evidence=paired.n)
        self.tested = 0 if judgement.outcome == "promote" else self.tested + (judgement.alpha is not None)
        return judgement.outcome == "promote"

    def _is_due(self, rows: int) -> bool:
        if self.last is None or not retest.waits(CANDIDATE, self.last, CHAMPION, self.tested, self.rules):
            return False
        wanted = retest.next_look(self.last.evidence, self.rules)
        return wanted is not None and rows >= wanted


@dataclass
class PairedTest:
    """McNemar's exact test over all rows, each candidate once, at the level that the product gives it."""

    rules: Gate = field(default_factory=Gate)

    def lets_in(self, shown: Shown) -> bool:
        """Whether the test rejects."""
        return shown.is_new and exact_p(*shown.counts) <= gate.level(self.rules)


class HigherWins:
    """The higher accuracy becomes champion."""

    def lets_in(self, shown: Shown) -> bool:
        """Whether there are more gains than losses."""
        gains, losses = shown.counts
        return shown.is_new and gains > losses


NAIVE: Mapping[str, Callable[[], Doorkeeper]] = {PAIRED: PairedTest, HIGHER: HigherWins}


def paired_of(champion: Bools, candidate: Bools, users: Ints | None = None) -> Paired:
    """Rows as the product takes them; without users, each row is a person of its own."""
    names = (None,) * len(champion) if users is None else tuple(f"u{user}" for user in users.tolist())
    return Paired(tuple(champion.tolist()), tuple(candidate.tolist()), names)
