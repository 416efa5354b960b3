"""The evaluator's loop: a candidate in, a verdict and perhaps a new champion out.

The offset is committed after both are on Kafka. After a crash in between the candidate comes again: the verdict is
found in the history, and only what is missing is written.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from kafka import KafkaConsumer, OffsetAndMetadata
from sqlalchemy import Engine

from schemas.events import CandidateTrained, ModelStateChanged, VerdictReached
from services.evaluator.evidence import Evidence, gather
from services.evaluator.gate import Judgement, first, judge, parentage, unsound
from services.evaluator.history import History
from services.evaluator.scoring import Scorer
from services.evaluator.statistics import Paired, accuracy
from shared import attempts
from shared.crash import crash_point
from shared.envelope import unseal
from shared.errors import ArtifactError, InvalidEventError
from shared.kafka import Follower, Publisher
from shared.observe import EVENTS_IN, EVENTS_OUT, HANDLE_SECONDS, Pulse
from shared.policy import PolicyFile
from shared.text import short_hash
from shared.topics import CANDIDATES

POLL_MS = 300

log = structlog.get_logger()


@dataclass
class Worker:
    """The loop and what it works with; the fields are the test seams."""

    consumer: KafkaConsumer
    publisher: Publisher
    decided: Follower
    history: History
    engine: Engine
    scorer: Scorer
    policies: PolicyFile
    pulse: Pulse
    stopping: threading.Event

    def run(self) -> None:
        """Judge candidates until asked to stop."""
        self.history.update(self.decided.catch_up())
        while not self.stopping.is_set():
            self.pulse.touch()
            self.pulse.ready = bool(self.consumer.assignment())
            for part, records in self.consumer.poll(timeout_ms=POLL_MS, max_records=1).items():
                for record in records:
                    if attempts.begin(self.consumer, part, record.offset):
                        self._handle(record)
                    else:
                        self._put_aside(record)
                    self.consumer.commit({part: OffsetAndMetadata(record.offset + 1, "", -1)})

    def _put_aside(self, record: Any) -> None:
        """Refuse a candidate of which the evaluator died each time."""
        reason = f"The evaluator died of it {attempts.MOST} times."
        self.publisher.dead_letter(record, "evaluator", attempts.CRASH_LOOP, reason, attempts.MOST)
        with suppress(InvalidEventError):
            event = unseal(record.value, record.headers, CANDIDATES)
            if isinstance(event, CandidateTrained) and event.version not in self.history.verdicts:
                self.publisher.publish(_verdict(event, self.history.champions.get(event.model), unsound(reason)))

    def _handle(self, record: Any) -> None:
        try:
            event = unseal(record.value, record.headers, CANDIDATES)
        except InvalidEventError as error:
            self.publisher.dead_letter(record, "evaluator", error.code, error.detail)
            return
        if isinstance(event, CandidateTrained):
            EVENTS_IN.labels("evaluator", "CandidateTrained").inc()
            with HANDLE_SECONDS.labels("evaluator").time():
                self.on_candidate_trained(event)

    def on_candidate_trained(self, candidate: CandidateTrained) -> None:
        """Reach a verdict, unless it was reached before, and move the alias if it says so."""
        self.history.update(self.decided.catch_up())
        champion = self.history.champions.get(candidate.model)
        verdict = self.history.verdicts.get(candidate.version)
        if verdict is None:
            verdict = self._judged(candidate, champion)
            crash_point("evaluator.after_eval")
            self.publisher.publish(verdict)
            crash_point("evaluator.after_verdict")
            EVENTS_OUT.labels("evaluator", "VerdictReached").inc()
            log.info("verdict_reached", model=candidate.model, version=candidate.version, outcome=verdict.outcome)
        serves = champion.version if champion else None
        if verdict.outcome == "promote" and serves == verdict.champion:
            self.publisher.publish(_promotion(candidate, verdict))
            crash_point("evaluator.after_promotion")
            EVENTS_OUT.labels("evaluator", "ModelStateChanged").inc()
        self.history.update(self.decided.catch_up())

    def _judged(self, candidate: CandidateTrained, champion: ModelStateChanged | None) -> VerdictReached:
        try:
            if champion is not None:
                self.scorer.load(champion)
        except ArtifactError as error:  # not the candidate's fault
            return _verdict(candidate, champion, unsound(f"The champion cannot answer: {error}", "inconclusive"))
        try:
            manifest = self.scorer.load(candidate)
            return self._compared(candidate, champion, frozenset((*manifest["new"], *manifest["replay"])))
        except ArtifactError as error:
            return _verdict(candidate, champion, unsound(str(error)))

    def _compared(
        self, candidate: CandidateTrained, champion: ModelStateChanged | None, taught: frozenset[str]
    ) -> VerdictReached:
        """The verdict on a candidate that can answer, from evidence that it was not taught."""
        rules = self.policies.of(candidate.model).gate
        evidence = gather(self.engine, candidate.model, rules.window, taught)
        with self._scored(candidate, champion):
            right = self.scorer.right(candidate.version, evidence.anchor)
            if champion is None:
                judgement = first(candidate.requested_by)
                return _verdict(candidate, None, judgement, candidate_accuracy=accuracy(right))
            solicited, anchor = self._paired(candidate, champion, evidence)
            lineage = parentage(candidate.parent, champion.version, candidate.requested_by, candidate.trigger)
            tested = self.history.tested(champion.version)
            judgement = judge(solicited, anchor, lineage, tested, rules)
            fixed = self.scorer.right(candidate.version, evidence.corrections)
        fixes = tuple(row.id for row, is_right in zip(evidence.corrections, fixed, strict=True) if is_right)
        return _verdict(
            candidate,
            champion,
            judgement,
            champion_accuracy=accuracy(solicited.champion),
            candidate_accuracy=accuracy(solicited.candidate),
            evidence=solicited.n,
            alpha_left=max(0.0, rules.alpha * (1 - (tested + (judgement.alpha is not None)) / rules.tries)),
            fixes=fixes,
        )

    @contextmanager
    def _scored(self, candidate: CandidateTrained, champion: ModelStateChanged | None) -> Iterator[None]:
        """Keep only the two versions in memory when done."""
        yield
        self.scorer.keep(candidate.version, *([champion.version] if champion else []))

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


def _verdict(
    candidate: CandidateTrained, champion: ModelStateChanged | None, judgement: Judgement, **figures: Any
) -> VerdictReached:
    return VerdictReached(
        event_id=short_hash("verdict", candidate.version),
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
        **figures,
    )


def _promotion(candidate: CandidateTrained, verdict: VerdictReached) -> ModelStateChanged:
    return ModelStateChanged(
        event_id=short_hash("state", candidate.model, candidate.version, verdict.event_id),
        occurred_at=datetime.now(UTC),
        source="evaluator",
        model=candidate.model,
        alias="champion",
        task=candidate.task,
        base=candidate.base,
        version=candidate.version,
        previous=verdict.champion,
        manifest_sha256=candidate.manifest_sha256,
        decision=verdict.event_id,
        reason=verdict.reason,
    )
