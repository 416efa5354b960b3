"""Records of a log in memory, a recorder that reads them, and what it would publish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.events import Event
from services.recorder.intake import Intake
from services.recorder.recording import Recording
from services.recorder.records import Part, Record, parted
from shared.artifacts import ArtifactStore
from shared.envelope import Outgoing, seal
from shared.kafka import Bus, Publisher
from shared.letters import Letter, is_kept, read, write
from shared.topics import DEAD_LETTERS, QUARANTINE, Topic
from tests.unit.recorder_story import NOON, Database

BUS = Bus("nowhere:1", prefix="t")


@dataclass
class Shelf(Publisher):
    """A publisher that keeps what it is given."""

    sent: list[Outgoing] = field(default_factory=list)

    def dead_letter(self, record: Any, service: str, reason: str, detail: str, attempts: int = 1) -> None:
        if is_kept(reason, service):
            self.send(write(record, service, reason, detail, attempts))

    def send(self, *outgoing: Outgoing) -> None:
        self.sent.extend(outgoing)


@dataclass
class Tape:
    """A log in memory that a recorder reads: each event at the next offset of its topic's first partition."""

    database: Database = field(default_factory=Database)
    shelf: Shelf = field(default_factory=lambda: Shelf(BUS))
    records: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        intake = Intake(BUS, self.shelf, ArtifactStore(str(Path("/nonexistent"))))
        self.recording = Recording(intake, self.database.engine, self.database.policies)

    def add(self, out: Outgoing, topic: Topic | None = None) -> Record:
        """Write a record at the end."""
        name = BUS.name(topic or out.topic)
        offset = sum(one.topic == name for one in self.records)
        record = Record(name, 0, offset, out.key, out.value, out.headers, int(NOON.timestamp() * 1000))
        self.records.append(record)
        return record

    def say(self, *events: Event) -> None:
        """Write events and record them in one batch."""
        self.take([self.add(seal(event)) for event in events])

    def take(self, records: Sequence[Record]) -> None:
        """Record some records."""
        self.recording.take(parted(records))

    def read_back(self) -> None:
        """Record what was put aside and taken back so far."""
        sent = [out for out in self.shelf.sent if out.topic in (DEAD_LETTERS, QUARANTINE)]
        for out in sent:
            self.shelf.sent.remove(out)
        if sent:
            self.take([self.add(out) for out in sent])

    @property
    def letters(self) -> list[Letter]:
        """The letters that were written and not read back yet."""
        aside = [out for out in self.shelf.sent if out.value is not None and out.topic in (DEAD_LETTERS, QUARANTINE)]
        return [read(Record(BUS.name(out.topic), 0, 0, out.key, out.value, out.headers, 0)) for out in aside]


def replayed(tape: Tape, order: Sequence[Record] | None = None) -> Tape:
    """A replay of a tape into an empty database, in which nothing is published.

    Another order is that of a log whose records came to lie in it: each partition's offsets rise all the same.
    """
    other = Tape(Database(tape.database.policies, tape.database.datasets))
    other.recording.intake = Intake(BUS, None, tape.recording.intake.artifacts)
    for place, record in enumerate(order or tape.records):
        other.take([record._replace(offset=place) if order else record])
    return other


PART = Part(BUS.name(DEAD_LETTERS), 0)
