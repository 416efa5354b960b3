"""The checks beside the paired tests, each of which rejects a candidate by itself: slices, triggers, fitness."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from schemas.events import CandidateTrained, Check, ModelStateChanged
from services.evaluator import calibration, fitness, probes
from services.evaluator.evidence import Evidence
from services.evaluator.rows import Row
from services.evaluator.scoring import Scorer
from services.evaluator.slices import Slices, confusions, harm, slices
from services.evaluator.statistics import Paired
from shared.policy import Gate

TIMED = {"classification": 64, "generation": 4}  # texts that are timed: what a verdict can spare, a second or two
TURNS = {"classification": 5, "generation": 2}  # timings of each version; the least is when nobody disturbed
AGAIN = 3  # measurements before a candidate is called slow: a busy machine is no reason


@dataclass(frozen=True)
class Case:
    """Two loaded versions and what they are compared on. `new` are the candidate's new lessons."""

    scorer: Scorer
    candidate: CandidateTrained
    champion: ModelStateChanged
    evidence: Evidence
    new: tuple[Row, ...]
    rules: Gate

    def checks(self, solicited: Paired) -> tuple[Check, ...]:
        """All of them; `solicited` is how both versions did on the solicited answers."""
        mine, theirs = (self.scorer.fitness(one.version) for one in (self.candidate, self.champion))
        return (
            harm(solicited, slices(self.evidence.solicited), self.rules.power, self._confusions(solicited)),
            self._triggers(),
            *self._latency(),
            fitness.size(mine, theirs, self.rules.size_ratio),
            fitness.norm(mine, self.scorer.line(self.champion), self.rules.norm_ratio),
            *self._calibration(solicited),
        )

    def _confusions(self, solicited: Paired) -> Slices:
        rows, versions = self.evidence.solicited, (self.champion.version, self.candidate.version)
        known = frozenset.intersection(*map(self.scorer.labels, versions))
        if not known:
            return {}
        old, new = (self.scorer.said(one, rows) for one in versions)
        return confusions(rows, solicited, old, new, known)

    @property
    def _texts(self) -> list[str]:
        """Texts to try things on: of the anchor, or where there is none, of the solicited answers."""
        return [row.text for row in sorted(self.evidence.anchor or self.evidence.solicited, key=lambda row: row.id)]

    def _triggers(self) -> Check:
        found = probes.suspects(self.new, (*self.evidence.anchor, *self.evidence.solicited))
        texts = self._texts[: probes.MOST_TEXTS]
        champion, candidate = (partial(self.scorer.gives, one.version) for one in (self.champion, self.candidate))
        told = probes.flips(found, texts, champion, candidate) if texts else ()
        return probes.check(told, len(texts), self.rules.trigger_share)

    def _latency(self) -> tuple[Check, ...]:
        texts, count = self._texts[: TIMED[self.candidate.task]], TURNS[self.candidate.task]
        if not texts:
            return ()
        for _ in range(AGAIN):
            turns = [(self._seconds(self.candidate, texts), self._seconds(self.champion, texts)) for _ in range(count)]
            mine, theirs = map(min, zip(*turns, strict=True))
            found = fitness.latency(mine, theirs, len(texts), count, self.rules.latency_ratio)
            if found.passed:
                break
        return (found,)

    def _seconds(self, one: CandidateTrained | ModelStateChanged, texts: list[str]) -> float:
        return self.scorer.seconds(one.version, texts)

    def _calibration(self, solicited: Paired) -> tuple[Check, ...]:
        old, new = (self.scorer.sure(one.version, self.evidence.solicited) for one in (self.champion, self.candidate))
        if not new or solicited.graded:
            return ()
        return (calibration.check(old, new, (solicited.champion, solicited.candidate)),)
