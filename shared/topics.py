"""The one table of topics: created from here before any service starts, documented from here, deployed from here.

Auto-creation is off, since Faust never consumes a topic that did not exist when it started. All topics carry the
prefix of the installation (`LEARNBACK_TOPIC_PREFIX`, default `learnback`), so that a test or a tenant has its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from schemas.events import (
    CandidateTrained,
    DecisionAnswered,
    DriftDetected,
    ErrorSliceUpdated,
    Event,
    EventQuarantined,
    EventsCounted,
    FeedbackReceived,
    ModelStateChanged,
    PredictionServed,
    ReviewDecided,
    TrainingProgressed,
    TrainingRequested,
    UserErased,
    VerdictReached,
)

DAY_MS = 24 * 60 * 60 * 1000
# What is taken back must be gone from the disk within a minute: a closed segment every 5 s (when something is written),
# compacted within 10 s more, and its old file removed a second later (measured: 12 s, docs/log.md).
FORGETTING = {
    "segment.ms": "5000",
    "max.compaction.lag.ms": "10000",
    "min.cleanable.dirty.ratio": "0.01",
    "file.delete.delay.ms": "1000",
}

# A broker refuses records from more than an hour ahead by their writer's clock, and deletes at once what is older than
# the retention by it. When an event happened is in the event.
BY_THE_BROKERS_CLOCK = {"message.timestamp.type": "LogAppendTime"}


@dataclass(frozen=True)
class Topic:
    """One Kafka topic. `key` names what the record's key is; `days` None means compacted (the last value stays).

    From a topic that `forgets`, a record can be taken back by its key before its days are over.
    """

    name: str
    key: str
    partitions: int
    days: int | None
    events: tuple[type[Event], ...] = ()
    writers: tuple[str, ...] = ()
    forgets: bool = False

    @property
    def configs(self) -> dict[str, str]:
        """The topic's settings on the broker."""
        if self.days is None:
            return {"cleanup.policy": "compact", **BY_THE_BROKERS_CLOCK}
        kept = {"retention.ms": str(self.days * DAY_MS), **BY_THE_BROKERS_CLOCK}
        if self.forgets:
            return {"cleanup.policy": "compact,delete", **kept, **FORGETTING}
        return {"cleanup.policy": "delete", **kept}

    @property
    def retention(self) -> str:
        """How long records stay, for people."""
        return "compact" if self.days is None else f"{self.days} d{', compact' if self.forgets else ''}"


PREDICTIONS = Topic("predictions.v1", "prediction_id", 6, 30, (PredictionServed,), ("predictor", "collector"))
FEEDBACK = Topic("feedback.v1", "prediction_id", 6, 30, (FeedbackReceived,), ("collector",))
REVIEWS = Topic("reviews.v1", "subject id", 1, 365, (ReviewDecided,), ("collector",))
ERASURES = Topic("erasures.v1", "user_key", 1, None, (UserErased,), ("collector",))
AUDITS = Topic("audits.v1", "instance", 1, 30, (EventsCounted,), ("collector", "predictor"))
ERROR_SLICES = Topic("error-slices.v1", "model|slice", 1, None, (ErrorSliceUpdated, DriftDetected), ("aggregator",))
TRAINING_REQUESTS = Topic(
    "training-requests.v1", "model", 3, 30, (TrainingRequested,), ("aggregator", "collector", "recorder")
)
TRAINING_PROGRESS = Topic("training-progress.v1", "model", 3, 7, (TrainingProgressed,), ("trainer",))
CANDIDATES = Topic("candidates.v1", "model", 3, 365, (CandidateTrained,), ("trainer",))
VERDICTS = Topic("verdicts.v1", "model", 3, 365, (VerdictReached, DecisionAnswered), ("evaluator",))
MODELS = Topic("models.v1", "model|alias", 1, None, (ModelStateChanged,), ("evaluator",))
DEAD_LETTERS = Topic("dead-letters.v1", "topic/partition/offset/service", 1, 30, (), ("any",), forgets=True)
QUARANTINE = Topic(
    "quarantine.v1",
    "event_id, or as for dead letters",
    1,
    365,
    (EventQuarantined,),
    ("collector", "recorder"),
    forgets=True,
)

TOPICS = (
    PREDICTIONS,
    FEEDBACK,
    REVIEWS,
    ERASURES,
    AUDITS,
    ERROR_SLICES,
    TRAINING_REQUESTS,
    TRAINING_PROGRESS,
    CANDIDATES,
    VERDICTS,
    MODELS,
    DEAD_LETTERS,
    QUARANTINE,
)

TOPIC_OF: dict[type[Event], Topic] = {event: topic for topic in TOPICS for event in topic.events}


_KEYS: dict[type[Event], Callable[[Any], str]] = {
    **dict.fromkeys((PredictionServed, FeedbackReceived), attrgetter("prediction_id")),
    ReviewDecided: attrgetter("subject"),
    UserErased: attrgetter("user_key"),
    EventsCounted: attrgetter("instance"),
    EventQuarantined: attrgetter("event_id"),
    **dict.fromkeys((ErrorSliceUpdated, DriftDetected), lambda event: f"{event.model}|{event.slice}"),
    ModelStateChanged: lambda event: f"{event.model}|{event.alias}",
    **dict.fromkeys(
        (TrainingRequested, TrainingProgressed, CandidateTrained, VerdictReached, DecisionAnswered), attrgetter("model")
    ),
}


def key_of(event: Event) -> str:
    """The record key that the table above promises for this event."""
    key = _KEYS.get(type(event))
    if key is None:
        raise TypeError(f"No topic carries {type(event).__name__}; add it to shared/topics.py")
    return key(event)
