"""Records into one batch: events are read, what is no event is put aside, dead letters are noted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from schemas.events import Event, TrainingRequested
from services.recorder.accounting import Arrivals
from services.recorder.batch import Batch
from services.recorder.datasets import Imported, read_card
from services.recorder.feed import Polled, Record
from shared.artifacts import ArtifactStore
from shared.envelope import INSTANCE, unseal
from shared.errors import ArtifactError, InvalidEventError
from shared.kafka import Bus, Publisher
from shared.observe import DEAD_LETTERED, EVENTS_IN
from shared.tables import Consumed, DeadLetter
from shared.topics import DEAD_LETTERS

SERVICE = "recorder"


@dataclass(frozen=True)
class Intake:
    """Reads what a poll brought."""

    bus: Bus
    publisher: Publisher
    artifacts: ArtifactStore

    def take(self, polled: Polled) -> Batch:
        """The batch that some records make. What is put aside is durable when this returns.

        Raises:
            UnavailableError: a dead letter could not be written; nothing is lost if the records are read again.
        """
        events: list[Event] = []
        datasets: dict[str, Imported] = {}
        letters: list[DeadLetter] = []
        arrivals = Arrivals()
        for part, records in polled.items():
            topic = self.bus.topic(part.topic)
            if topic is DEAD_LETTERS:
                letters += [letter(record) for record in records]
                continue
            for record in records:
                try:
                    event = unseal(record.value, record.headers, topic)
                    if isinstance(event, TrainingRequested) and (card := read_card(self.artifacts, event)):
                        datasets[event.event_id] = card
                except InvalidEventError as error:
                    self._put_aside(record, error.code, error.detail, arrivals)
                except ArtifactError as error:
                    self._put_aside(record, "artifact_missing", str(error), arrivals)
                else:
                    events.append(event)
                    if instance := instance_of(record):
                        arrivals.event(instance, event)
                    EVENTS_IN.labels(SERVICE, type(event).__name__).inc()
        offsets = [
            Consumed(topic=part.topic, partition=part.partition, next_offset=end(polled[part])) for part in polled
        ]
        return Batch(tuple(events), datasets, tuple(letters), tuple(offsets), arrivals)

    def _put_aside(self, record: Record, reason: str, detail: str, arrivals: Arrivals) -> None:
        self.publisher.dead_letter(record, SERVICE, reason, detail)
        DEAD_LETTERED.labels(SERVICE, reason).inc()
        if instance := instance_of(record):
            arrivals.put_aside(instance, occurred_at(record), "dead")


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


def letter(record: Record) -> DeadLetter:
    """The row of a dead letter. One without provenance is taken as its own origin."""
    told = {name: content.decode("utf-8", "replace") for name, content in record.headers if name.startswith("x-dlq-")}
    topic, service = told.get("x-dlq-topic", record.topic), told.get("x-dlq-service", "unknown")
    partition = _number(told.get("x-dlq-partition"), record.partition)
    offset = _number(told.get("x-dlq-offset"), record.offset)
    return DeadLetter(
        id=f"{topic}/{partition}/{offset}/{service}",
        topic=topic,
        partition=partition,
        offset=offset,
        service=service,
        reason=told.get("x-dlq-reason", "no_provenance"),
        detail=told.get("x-dlq-detail", ""),
        occurred_at=datetime.fromtimestamp(record.timestamp / 1000, UTC),
    )


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() else otherwise
