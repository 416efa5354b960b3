"""The evaluator's loop: a candidate in, a verdict and perhaps a new champion out; and again for one that waits.

The offset is committed after both are on Kafka. After a crash in between the candidate comes again: the verdict is
found in the history, and only what is missing is written. Between candidates the newest of each model is looked at
again when there is reason to (see `retest`); what a crash left out there is found in the history in the same way.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import structlog
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from sqlalchemy import Engine

from schemas.events import CandidateTrained, ModelStateChanged, VerdictReached
from services.evaluator import gate, retest
from services.evaluator.evidence import count
from services.evaluator.examiner import Examiner, verdict_of
from services.evaluator.gate import unsound
from services.evaluator.history import History
from services.evaluator.scoring import Scorer
from services.evaluator.silence import decided
from services.evaluator.steward import Steward
from shared import attempts
from shared.crash import crash_point
from shared.envelope import unseal
from shared.errors import InvalidEventError, UnavailableError
from shared.kafka import Follower, Publisher
from shared.observe import EVENTS_IN, EVENTS_OUT, HANDLE_SECONDS, Pulse
from shared.policy import PolicyFile
from shared.topics import CANDIDATES

POLL_MS = 300
LOOK_S = 2.0  # between two glances at how much evidence there is; a glance is one count over the gate's window

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
    _looked_at: float = 0.0  # monotonic
    _seen: dict[str, tuple[str, int]] = field(default_factory=dict)  # model → last looked at, and on how many rows

    @cached_property
    def examiner(self) -> Examiner:
        """Who looks at candidates."""
        return Examiner(self.engine, self.scorer, self.policies)

    @cached_property
    def steward(self) -> Steward:
        """Who moves the aliases."""
        return Steward(self.publisher, self.history, self.engine, self.scorer, self.policies)

    def run(self) -> None:
        """Judge candidates until asked to stop."""
        self.history.update(self.decided.catch_up())
        while not self.stopping.is_set():
            self.pulse.touch()
            self.pulse.ready = bool(self.consumer.assignment())
            for part, records in self.consumer.poll(timeout_ms=POLL_MS, max_records=1).items():
                for record in records:
                    self._take(part, record)
            if time.monotonic() - self._looked_at >= LOOK_S:
                try:
                    self.look_again()
                except UnavailableError as reason:
                    log.warning("waiting", reason=str(reason))
                self._looked_at = time.monotonic()

    def _take(self, part: TopicPartition, record: Any) -> None:
        """Judge a candidate, or leave it for later while the artifact store or Kafka is away."""
        if not attempts.begin(self.consumer, part, record.offset):
            self._put_aside(record)
        else:
            try:
                self._handle(record)
            except UnavailableError as reason:
                attempts.forgive(self.consumer, part, record.offset)
                self.consumer.seek(part, record.offset)
                log.warning("waiting", reason=str(reason))
                self.stopping.wait(LOOK_S)
                return
        self.consumer.commit({part: OffsetAndMetadata(record.offset + 1, "", -1)})

    def _put_aside(self, record: Any) -> None:
        """Refuse a candidate of which the evaluator died each time."""
        reason = f"The evaluator died of it {attempts.MOST} times."
        self.publisher.dead_letter(record, "evaluator", attempts.CRASH_LOOP, reason, attempts.MOST)
        with suppress(InvalidEventError):
            event = unseal(record.value, record.headers, CANDIDATES)
            if isinstance(event, CandidateTrained) and event.version not in self.history.verdicts:
                self.publisher.publish(verdict_of(event, self.history.champions.get(event.model), unsound(reason)))

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
        if verdict is None or self._is_due(candidate, verdict, champion):
            tested = self.history.tested(champion.version) if champion else 0
            self._seen[candidate.model] = candidate.version, self._rows(candidate.model, champion)
            verdict = self.examiner.examine(candidate, champion, tested, verdict.look + 1 if verdict else 1)
            crash_point("evaluator.after_eval")
            self.publisher.publish(verdict)
            crash_point("evaluator.after_verdict")
            EVENTS_OUT.labels("evaluator", "VerdictReached").inc()
            log.info("verdict_reached", model=candidate.model, version=candidate.version, outcome=verdict.outcome)
        if retest.is_owed(verdict, champion):
            self.steward.promote(candidate, verdict)
        self.history.update(self.decided.catch_up())

    def look_again(self) -> None:
        """Look at the candidates that wait, at canaries, champions and what people decided; finish what a crash left.

        Of the models whose candidates come in the partitions that are ours.
        """
        self.history.update(self.decided.catch_up())
        ours = {part.partition for part in self.consumer.assignment()}
        for model, one in list(self.history.newest.items()):
            if one.partition not in ours:
                continue
            self.steward.tend(model)
            self.history.update(self.decided.catch_up())
            verdict = self.history.verdicts.get(one.candidate.version)
            if verdict is None:
                continue  # still to come through the group
            champion = self.history.champions.get(model)
            if retest.is_owed(verdict, champion) or self._is_due(one.candidate, verdict, champion):
                self.on_candidate_trained(one.candidate)

    def _is_due(self, candidate: CandidateTrained, verdict: VerdictReached, champion: ModelStateChanged | None) -> bool:
        rules = self.policies.of(candidate.model).gate
        newest = self.history.newest.get(candidate.model)
        if champion is None or newest is None or newest.candidate.version != candidate.version:
            return False
        if not retest.waits(candidate, verdict, champion, self.history.tested(champion.version), rules):
            return False
        if verdict.silent and 2 * decided(self.engine, candidate.model, verdict.silent) >= len(verdict.silent):
            return True  # reviewers have labelled half of what users left open: a moment that no right or wrong chose
        version, rows = self._seen.get(candidate.model, ("", 0))
        wanted = retest.next_look(max(verdict.evidence, rows if version == candidate.version else 0), rules)
        return wanted is not None and self._rows(candidate.model, champion) >= wanted

    def _rows(self, model: str, champion: ModelStateChanged | None) -> int:
        rules = self.policies.of(model).gate
        return count(self.engine, model, rules.window, gate.since(champion, rules))
