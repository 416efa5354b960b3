"""Stage 1: what is read by prediction_id, by subject or by alias becomes facts about a model."""

from __future__ import annotations

from collections.abc import Callable

from schemas.events import FeedbackReceived, ModelStateChanged, PredictionServed, ReviewDecided
from services.aggregator.facts import Crowned, Fact, Reviewed
from services.aggregator.join import Entry, Expiry, Place, join_feedback, join_prediction
from services.aggregator.shelf import Home, Shelf
from shared.policy import PolicyFile


class Aged(Home):
    """What decides when an entry goes."""

    at: float


class Joiner:
    """Joins predictions and feedback, and passes on what it learns."""

    def __init__(self, joins: Shelf[Entry], limit: int, tell: Callable[[Fact], None], policies: PolicyFile) -> None:
        """Make one that keeps at most `limit` predictions per partition and tells facts to `tell`."""
        self._joins = joins
        self._policies = policies
        self._limit = limit
        self._tell = tell
        self._expiries: dict[int, Expiry] = {}

    def on_prediction_served(self, event: PredictionServed, place: Place) -> None:
        """Keep a prediction; feedback on it may have come before."""
        tags = self._policies.of(event.model).trigger.slice_tags
        entry, fact = join_prediction(self._joins.get(event.prediction_id), event, place, tags)
        self._keep(event.prediction_id, entry)
        if fact:
            self._tell(fact)

    def on_feedback_received(self, event: FeedbackReceived, place: Place) -> None:
        """Judge a prediction, or keep the feedback for when it comes."""
        entry, fact = join_feedback(self._joins.get(event.prediction_id), event, place)
        if entry:
            self._keep(event.prediction_id, entry)
        if fact:
            self._tell(fact)

    def on_review_decided(self, event: ReviewDecided, place: Place) -> None:
        """An example that a reviewer accepts or relabels is usable for training; an audit is evidence."""
        is_audit = event.prediction_id is not None
        if event.subject_kind == "example" and event.decision in ("accept", "relabel") and not is_audit:
            self._tell(Reviewed(model=event.model, origin=place.origin, offset=place.offset))

    def on_model_state_changed(self, event: ModelStateChanged, place: Place) -> None:
        """A new champion begins a reign."""
        if event.alias == "champion":
            self._tell(
                Crowned(
                    model=event.model,
                    origin=place.origin,
                    offset=place.offset,
                    version=event.version,
                    at=event.occurred_at.timestamp(),
                )
            )

    def recover(self) -> None:
        """Order what the table holds by age, after partitions were assigned."""
        self._expiries.clear()
        for key, aged in sorted(self._joins.glance(Aged), key=lambda item: item[1].at):
            self._expire(key, aged)

    def _keep(self, key: str, entry: Entry) -> None:
        self._joins.put(key, entry)
        self._expire(key, entry)

    def _expire(self, key: str, entry: Entry | Aged) -> None:
        expiry = self._expiries.setdefault(entry.partition, Expiry(self._limit))
        for old in expiry.add(key, entry.at):
            self._joins.remove(old, entry.partition)
