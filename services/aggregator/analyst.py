"""Stage 2: facts about a model become slice counts, drift alarms and training requests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime

from schemas.events import (
    CandidateTrained,
    DriftDetected,
    Event,
    TrainingProgressed,
    TrainingRequested,
    VerdictReached,
)
from services.aggregator import triggers
from services.aggregator.drift import DETECTOR, Drift, DriftWatch
from services.aggregator.facts import Crowned, Judged, Reviewed
from services.aggregator.shelf import Shelf
from services.aggregator.tally import Tally
from services.aggregator.topics import APP
from services.aggregator.triggers import Asked, Loop
from shared.ids import new_id
from shared.policy import PolicyFile, Trigger

LOOK_S = 1.0  # how often each model is looked at: whether to ask for training


class Analyst:
    """Knows each model's loop."""

    def __init__(self, loops: Shelf[Loop], tally: Tally, policies: PolicyFile, emit: Callable[[Event], None]) -> None:
        """Make one that emits its events by `emit`."""
        self._loops = loops
        self._tally = tally
        self._policies = policies
        self._emit = emit
        self._watches: dict[str, DriftWatch] = defaultdict(DriftWatch)
        self._announced: set[str] = set()
        self._changed: dict[str, set[str]] = defaultdict(set)
        self._looked_at = 0.0

    def on_fact(self, fact: Judged | Reviewed | Crowned, partition: int, now: float) -> None:
        """Count what a fact tells."""
        loop = self._loop(fact.model, partition)
        match fact:
            case Crowned():
                if (crowned := triggers.on_crowned(loop, fact, now)) != loop:
                    self._watches.pop(fact.model, None)
                self._loops.put(fact.model, crowned)
            case Reviewed():
                self._loops.put(fact.model, triggers.on_usable(loop, fact))
            case Judged():
                self._tally.count(loop, fact)
                self._loops.put(fact.model, self._watch(triggers.on_usable(loop, fact), loop, fact))

    def on_training_progressed(self, event: TrainingProgressed, partition: int, now: float) -> None:
        """Follow the request that is out."""
        loop = self._loop(event.model, partition)
        self._loops.put(event.model, triggers.on_progress(loop, event, now, self._policy(event.model)))

    def on_candidate_trained(self, event: CandidateTrained, partition: int, now: float) -> None:
        """Follow the request that is out."""
        self._loops.put(event.model, triggers.on_candidate(self._loop(event.model, partition), event, now))

    def on_verdict_reached(self, event: VerdictReached, partition: int) -> None:
        """Follow the request that is out."""
        self._loops.put(event.model, triggers.on_verdict(self._loop(event.model, partition), event))

    def publish(self, now: float) -> None:
        """Publish changed slices. Each turn, before the facts that changed them are acknowledged."""
        for model, names in self._tally.publish(now).items():
            self._changed[model].update(names)

    def look(self, now: float) -> None:
        """Decide whether to ask for training."""
        if now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        changed, self._changed = self._changed, defaultdict(set)
        for model, loop in list(self._loops.items()):
            decided = self._decide(loop, sorted(changed[model]), now)
            if decided != loop:
                self._loops.put(model, decided)

    def announce(self) -> None:
        """Publish requests that are written, and mark those that an earlier turn published and made durable.

        After a crash in between, the request is published again with the same ids.
        """
        for model, loop in list(self._loops.items()):
            if loop.asked is None or loop.asked.sent:
                continue
            if loop.asked.request_id in self._announced:
                self._announced.discard(loop.asked.request_id)
                sent = loop.asked.model_copy(update={"sent": True})
                self._loops.put(model, loop.model_copy(update={"asked": sent}))
            else:
                self._announced.add(loop.asked.request_id)
                self._emit(_request(model, loop.asked))

    def recover(self) -> None:
        """Start from what the tables hold, after partitions were assigned."""
        self._watches.clear()
        self._announced.clear()
        self._changed.clear()
        self._tally.recover()

    def _loop(self, model: str, partition: int) -> Loop:
        return self._loops.get(model) or Loop(partition=partition, model=model)

    def _policy(self, model: str) -> Trigger:
        return self._policies.of(model).trigger

    def _watch(self, counted: Loop, before: Loop, fact: Judged) -> Loop:
        is_first = fact.was is None and not before.has_seen(fact)
        if not (fact.solicited and is_first and counted.champion):
            return counted
        drift = self._watches[fact.model].update(fact.now.wrong)
        if drift is None:
            return counted
        self._emit(_alarm(fact.model, drift))
        return counted.model_copy(update={"drifted": True})

    def _decide(self, loop: Loop, changed: list[str], now: float) -> Loop:
        policy = self._policy(loop.model)
        if triggers.is_silent(loop, now):
            return triggers.give_up(loop, now, policy)
        if not triggers.may_ask(loop, now, policy):
            return loop
        return triggers.decide(loop, now, policy, self._tally.rises(loop, changed))


def _alarm(model: str, drift: Drift) -> DriftDetected:
    return DriftDetected(
        event_id=new_id(),
        occurred_at=datetime.now(UTC),
        source=APP,
        model=model,
        slice="all",
        rate_before=drift.before,
        rate_after=drift.after,
        detector=DETECTOR,
    )


def _request(model: str, asked: Asked) -> TrainingRequested:
    return TrainingRequested(
        event_id=asked.request_id,
        occurred_at=datetime.fromtimestamp(asked.at, UTC),
        source=APP,
        request_id=asked.request_id,
        model=model,
        trigger=asked.trigger,
        detail=asked.detail,
        requested_by=APP,
    )
