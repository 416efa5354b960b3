"""Records into one batch: events are read, what is no event is put aside, dead letters are noted."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from prometheus_client import Counter

from schemas.events import Event, FeedbackReceived, PredictionServed, TrainingRequested
from services.recorder import shelves
from services.recorder.accounting import Arrivals, Outcome
from services.recorder.batch import SERVICE, Batch
from services.recorder.datasets import Imported, read_card
from services.recorder.records import Polled, Record
from shared.artifacts import ArtifactStore
from shared.envelope import INSTANCE, Outgoing, unseal
from shared.errors import ArtifactError, InvalidEventError
from shared.ids import namespaced
from shared.kafka import Bus, Publisher
from shared.letters import is_kept, read, shelf
from shared.observe import EVENTS_IN
from shared.tables import Consumed, DeadLetter
from shared.topics import DEAD_LETTERS, QUARANTINE, Topic, key_of

SHELVES = (DEAD_LETTERS, QUARANTINE)
NAMESPACE = 8  # hex digits
MISPLACED = Counter("learnback_misplaced_records_total", "Records whose key is not their event's", ["topic"])


@dataclass
class Draft:
    """A batch in the making."""

    events: list[Event] = field(default_factory=list)
    datasets: dict[str, Imported] = field(default_factory=dict)
    letters: dict[str, DeadLetter | None] = field(default_factory=dict)
    arrivals: Arrivals = field(default_factory=Arrivals)
    origins: dict[int, Record] = field(default_factory=dict)


@dataclass(frozen=True)
class Intake:
    """Reads what a poll brought. Without a publisher it is a replay, in which nothing is published."""

    bus: Bus
    publisher: Publisher | None
    artifacts: ArtifactStore

    def take(self, polled: Polled) -> Batch:
        """The batch that some records make. What is put aside is durable when this returns.

        Raises:
            UnavailableError: a dead letter could not be written; nothing is lost if the records are read again.
        """
        draft = Draft()
        for part, records in polled.items():
            topic = self.bus.topic(part.topic)
            shelved = topic in SHELVES
            for record in records:
                if shelved:
                    _shelved(record, topic, draft)
                else:
                    self._open(record, topic, draft)
        for kind, count in collections.Counter(type(event).__name__ for event in draft.events).items():
            EVENTS_IN.labels(SERVICE, kind).inc(count)
        offsets = [
            Consumed(topic=part.topic, partition=part.partition, next_offset=end(polled[part])) for part in polled
        ]
        firsts = {(part.topic, part.partition): records[0].offset for part, records in polled.items()}
        return Batch(
            tuple(draft.events), draft.datasets, draft.letters, tuple(offsets), draft.arrivals, draft.origins, firsts
        )

    def _open(self, record: Record, topic: Topic, draft: Draft) -> None:
        try:
            event = unseal(record.value, record.headers, topic)
            _check_origin(event, record)
            if type(event) is TrainingRequested and (card := read_card(self.artifacts, event)):
                draft.datasets[event.event_id] = card
        except InvalidEventError as error:
            self._put_aside(record, error.code, error.detail, draft.arrivals)
        except ArtifactError as error:
            self._put_aside(record, "artifact_missing", str(error), draft.arrivals)
        else:
            draft.events.append(event)
            draft.origins[id(event)] = record
            if instance := instance_of(record):
                draft.arrivals.event(instance, event)

    def without(self, record: Record, reason: str, detail: str, attempts: int) -> Batch:
        """The batch that is left of a record when it is put aside: where to go on.

        Raises:
            UnavailableError: the dead letter could not be written.
        """
        arrivals = Arrivals()
        self._put_aside(record, reason, detail, arrivals, attempts)
        offset = Consumed(topic=record.topic, partition=record.partition, next_offset=record.offset + 1)
        return Batch(offsets=(offset,), arrivals=arrivals, firsts={(record.topic, record.partition): record.offset})

    def publish(self, out: Sequence[Outgoing]) -> None:
        """Send what follows from a batch.

        Raises:
            UnavailableError: it is not known to be durable.
        """
        if self.publisher is not None and out:
            self.publisher.send(*out)

    def _put_aside(self, record: Record, reason: str, detail: str, arrivals: Arrivals, attempts: int = 1) -> None:
        if self.publisher is not None:
            self.publisher.dead_letter(record, SERVICE, reason, detail, attempts)
        if instance := instance_of(record):
            arrivals.put_aside(instance, occurred_at(record), _outcome(reason))


def _outcome(reason: str) -> Outcome:
    """What a record that was put aside came to. One without a value was emptied in a spool: its user was erased."""
    if not is_kept(reason, SERVICE):
        return "erased"
    return "quarantined" if shelf(reason) is QUARANTINE else "dead"


def _check_origin(event: Event, record: Record) -> None:
    """Hold an event against what is around it.

    Raises:
        InvalidEventError: `forged_app`: its id is of another app's namespace (shared.ids) than the app that it names.
    """
    if record.key != key_of(event).encode():
        MISPLACED.labels(record.topic).inc()  # it may be in another partition than its other half; SQL joins them all
    if event.source == "collector" and (type(event) is PredictionServed or type(event) is FeedbackReceived):
        namespace, dot, own = event.event_id.partition(".")
        if dot and len(namespace) == NAMESPACE and event.event_id != namespaced(event.app, own):
            raise InvalidEventError("forged_app", "The event's id is of another app's namespace.")


def _shelved(record: Record, topic: Topic, draft: Draft) -> None:
    """Note a letter, or that one was taken back."""
    if record.value is None:
        draft.letters[(record.key or b"").decode("utf-8", "replace")] = None
        return
    row = shelves.row(read(record, quarantined=topic is QUARANTINE))
    draft.letters[row.id] = row
    if instance := accepted_there(record):
        draft.arrivals.put_aside(instance, occurred_at(record), "quarantined")


def accepted_there(record: Record) -> str:
    """The process that accepted a record straight onto a shelf: it did not come there from another topic."""
    return "" if any(name == "x-dlq-topic" for name, _ in record.headers) else instance_of(record)


def instance_of(record: Record) -> str:
    """The process that accepted a record's event; empty when nobody counts it."""
    for name, content in record.headers:
        if name == INSTANCE:
            return content.decode("ascii", "replace")[:64]
    return ""


def occurred_at(record: Record) -> datetime:
    """When a record that is no event was accepted, as its header says, else when it was written."""
    told = next((content for name, content in record.headers if name == "ce_time"), b"")
    try:
        moment = datetime.fromisoformat(told.decode())
    except ValueError:
        moment = None
    return moment if moment and moment.tzinfo else datetime.fromtimestamp(record.timestamp / 1000, UTC)


def end(records: Sequence[Record]) -> int:
    """The offset after the last of some records of one partition."""
    return int(records[-1].offset) + 1
