"""From a candidate to its verdict: files, evidence and answers gathered, and put before the gate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine

from schemas.events import CandidateTrained, ModelStateChanged, VerdictReached
from services.evaluator import gate
from services.evaluator.checks import Case
from services.evaluator.evidence import Evidence, gather, lessons
from services.evaluator.gate import Judgement, first, judge, parentage, unsound
from services.evaluator.ground import Silence
from services.evaluator.rows import Row
from services.evaluator.scoring import Scorer
from services.evaluator.statistics import Paired, accuracy
from shared.errors import ArtifactError
from shared.policy import Gate, PolicyFile
from shared.text import short_hash

MOST_ASKED = 500  # silent predictions that a verdict names for reviewers, oldest ones: months of work
HALF_RIGHT = 0.5  # of a graded answer: a correction that scores higher counts as fixed


@dataclass(frozen=True)
class Examiner:
    """What it takes to look at a candidate; a backtest gathers evidence of another time."""

    engine: Engine
    scorer: Scorer
    policies: PolicyFile
    gather: Callable[..., Evidence] = gather

    def examine(
        self, candidate: CandidateTrained, champion: ModelStateChanged | None, tested: int, look: int = 1
    ) -> VerdictReached:
        """The verdict on a candidate by the evidence of now.

        `tested` is how many superiority tests this champion has met; `look` which look at the candidate it is.
        """
        try:
            if champion is not None:
                self.scorer.load(champion)
        except ArtifactError as error:  # not the candidate's fault
            return verdict_of(
                candidate, champion, unsound(f"The champion cannot answer: {error}", "inconclusive"), look
            )
        try:
            manifest = self.scorer.load(candidate)
            with self._scored(candidate, champion):
                if champion is None:
                    return self._first(candidate)
                return self._compared(candidate, champion, manifest, tested, look)
        except ArtifactError as error:
            return verdict_of(candidate, champion, unsound(str(error)), look)

    def _first(self, candidate: CandidateTrained) -> VerdictReached:
        evidence = gather(self.engine, candidate.model, window=1, taught=())
        right = self.scorer.right(candidate.version, evidence.anchor)
        return verdict_of(
            candidate,
            None,
            first(candidate.requested_by),
            candidate_accuracy=accuracy(right),
            anchor=evidence.anchor_version,
        )

    def _compared(
        self,
        candidate: CandidateTrained,
        champion: ModelStateChanged,
        manifest: Mapping[str, Any],
        tested: int,
        look: int,
    ) -> VerdictReached:
        """The verdict on a candidate that can answer, from evidence that it was not taught."""
        taught = frozenset((*manifest["new"], *manifest["replay"]))
        policy = self.policies.of(candidate.model)
        rules, tags = policy.gate, policy.trigger.slice_tags
        evidence = self.gather(self.engine, candidate.model, rules.window, taught, gate.since(champion, rules), tags)
        solicited, anchor = self._paired(candidate, champion, evidence)
        lineage = parentage(candidate.parent, champion.version, candidate.requested_by, candidate.trigger)
        case = Case(self.scorer, candidate, champion, evidence, lessons(self.engine, manifest["new"]), rules)
        silent = self._silent(candidate, champion, evidence, rules)
        audits = tuple(number for number, row in enumerate(evidence.solicited) if row.audited)
        silence = Silence(tuple(row.user for row in silent), audits, evidence.unbounded)
        judgement = judge(solicited, anchor, lineage, tested, rules, case.checks(solicited), silence)
        fixed = self.scorer.right(candidate.version, evidence.corrections)
        return verdict_of(
            candidate,
            champion,
            judgement,
            look,
            champion_accuracy=accuracy(solicited.champion),
            candidate_accuracy=accuracy(solicited.candidate),
            evidence=solicited.n,
            audits=len(audits),
            silent=tuple(row.prediction for row in silent[-MOST_ASKED:]) or None,
            anchor=evidence.anchor_version,
            alpha_left=gate.alpha_left(tested + (judgement.alpha is not None), rules),
            fixes=tuple(row.id for row, score in zip(evidence.corrections, fixed, strict=True) if score > HALF_RIGHT),
        )

    @contextmanager
    def _scored(self, candidate: CandidateTrained, champion: ModelStateChanged | None) -> Iterator[None]:
        """Keep only the two versions in memory when done."""
        yield
        self.scorer.keep(candidate.version, *([champion.version] if champion else []))

    def _silent(
        self, candidate: CandidateTrained, champion: ModelStateChanged, evidence: Evidence, rules: Gate
    ) -> tuple[Row, ...]:
        """Where users are silent and the versions differ; of two texts nobody knows whether they say the same."""
        if rules.silence == "fair" or candidate.task != "classification" or not evidence.silent:
            return evidence.silent if rules.silence == "against" else ()
        texts = [row.text for row in evidence.silent]
        old, new = (self.scorer.say(one.version, texts) for one in (champion, candidate))
        return tuple(row for row, *said in zip(evidence.silent, old, new, strict=True) if said[0] != said[1])

    def _paired(
        self, candidate: CandidateTrained, champion: ModelStateChanged, evidence: Evidence
    ) -> tuple[Paired, Paired]:
        """Champion and candidate on the solicited rows, and on the anchor."""

        def both(rows: Any) -> Paired:
            return Paired(
                self.scorer.right(champion.version, rows),
                self.scorer.right(candidate.version, rows),
                tuple(row.user for row in rows),
            )

        return both(evidence.solicited), both(evidence.anchor)


def verdict_of(
    candidate: CandidateTrained, champion: ModelStateChanged | None, judgement: Judgement, look: int = 1, **figures: Any
) -> VerdictReached:
    """The event of a judgement. Its id follows from the candidate and the look, so that saying it again is no news."""
    again = () if look == 1 else (str(look),)
    return VerdictReached(
        event_id=short_hash("verdict", candidate.version, *again),
        occurred_at=datetime.now(UTC),
        source="evaluator",
        model=candidate.model,
        candidate=candidate.version,
        champion=champion.version if champion else None,
        outcome=judgement.outcome,
        reason=judgement.reason,
        checks=judgement.checks,
        labels_to_decide=judgement.labels_to_decide,
        alpha=judgement.alpha,
        look=look,
        **figures,
    )
