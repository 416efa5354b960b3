"""What the recorder's bench lets flow: filled topics, a real recorder process, and how far it is at each moment."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import Producer
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from bench.stage import answers, await_ready, free_port, program
from schemas.events import Event, FeedbackReceived, PredictionServed
from shared.envelope import seal
from shared.errors import FatalError
from shared.kafka import Bus
from shared.tables import consumed, open_database
from shared.topics import FEEDBACK, PREDICTIONS

LOOK_S = 0.01
STUCK_S = 120
SLICE = 200  # events that are on their way at once
Place = tuple[str, int]  # topic and partition


@dataclass(frozen=True)
class Seen:
    """What SQL showed at a moment: the next offset of each partition of predictions and feedback."""

    at: float
    places: dict[Place, int]

    @property
    def events(self) -> int:
        """How many of them are recorded."""
        return sum(self.places.values())


@dataclass(frozen=True)
class Recorder:
    """A running recorder, and the database that it writes, from outside."""

    process: psutil.Process
    engine: Engine
    topics: frozenset[str]

    def look(self) -> Seen:
        """What is visible in SQL now."""
        try:
            with self.engine.connect() as connection:
                found = consumed(connection)
        except DBAPIError:  # no table yet
            found = {}
        return Seen(time.monotonic(), {place: end for place, end in found.items() if place[0] in self.topics})

    def watch(self, until: int) -> Iterator[Seen]:
        """Each new state from now on, until so many events are recorded.

        Raises:
            FatalError: nothing was recorded for a long time.
        """
        last = self.look()
        yield last
        while last.events < until:
            time.sleep(LOOK_S)
            now = self.look()
            if now.events > last.events:
                yield (last := now)
            elif now.at - last.at > STUCK_S or not self.process.is_running():
                raise FatalError(f"The recorder stands still at {last.events} of {until} events.")

    @property
    def cpu_s(self) -> float:
        """CPU time since its start."""
        spent = self.process.cpu_times()
        return float(spent.user + spent.system)

    @property
    def memory_mb(self) -> float:
        """Resident memory."""
        return float(self.process.memory_info().rss / 2**20)


@dataclass
class Flow:
    """One set of topics, one database, and a folder for all else."""

    bus: Bus
    database_url: str
    folder: Path
    sent: int = 0
    instance: str | None = None  # who accepted the events, for the ledger
    producer: Producer = field(init=False)

    def __post_init__(self) -> None:
        self.producer = Producer({"bootstrap.servers": self.bus.servers, "acks": "all", "linger.ms": 5})

    @property
    def topics(self) -> frozenset[str]:
        """The full names of the topics that it fills."""
        return frozenset((self.bus.name(PREDICTIONS), self.bus.name(FEEDBACK)))

    @property
    def variables(self) -> dict[str, str]:
        """What tells a service of this bus, database and folder."""
        return {
            "LEARNBACK_KAFKA_BOOTSTRAP_SERVERS": self.bus.servers,
            "LEARNBACK_TOPIC_PREFIX": self.bus.prefix,
            "LEARNBACK_DATABASE_URL": self.database_url,
            "LEARNBACK_ARTIFACTS_URL": f"file://{self.folder}/artifacts",
            "LEARNBACK_POLICY_FILE": f"{self.folder}/learnback.toml",
            "LEARNBACK_INSTANCE": "bench",
        }

    def fill(self, events: Iterable[Event]) -> None:
        """Put events on their topics; they are the broker's when this returns.

        As users do, who answer what they were served: feedback lies on the log after its prediction.
        """
        rest = iter(events)
        while some := list(islice(rest, SLICE)):
            for kind in (PredictionServed, FeedbackReceived):
                for event in some:
                    if isinstance(event, kind):
                        self.send(event)
                if self.producer.flush(STUCK_S):
                    raise FatalError(f"Kafka at {self.bus.servers} did not take all events within {STUCK_S} s.")

    def send(self, event: Event, **options: Any) -> None:
        """Hand an event to the producer."""
        out = seal(event, instance=self.instance)
        while True:
            try:
                self.producer.produce(self.bus.name(out.topic), out.value, out.key, headers=[*out.headers], **options)
                break
            except BufferError:  # its queue is full: let it send
                self.producer.poll(0.05)
        self.producer.poll(0)
        self.sent += 1

    @contextmanager
    def recorder(self) -> Iterator[Recorder]:
        """Run `python -m services.recorder` on this bus and database."""
        self.folder.mkdir(parents=True, exist_ok=True)
        port, log = free_port(), self.folder / "recorder.log"
        variables = self.variables | {"LEARNBACK_RECORDER_PORT": str(port)}
        engine = open_database(self.database_url)
        try:
            with program([sys.executable, "-m", "services.recorder"], log, variables) as process:
                await_ready(process, log, answers(port, "/livez"))
                yield Recorder(psutil.Process(process.pid), engine, self.topics)
        finally:
            engine.dispose()


def rate(seen: Iterable[Seen], since: int = 0) -> float:
    """Events per second from the first commit beyond `since` events to the last one.

    Raises:
        FatalError: there were not two commits to measure between.
    """
    counted = [one for one in seen if one.events > since]
    if len(counted) < 2:
        raise FatalError("The recorder was done before two of its transactions could be told apart: fill in more.")
    return (counted[-1].events - counted[0].events) / (counted[-1].at - counted[0].at)


def each(events: Iterable[Event], per_s: float, send: Callable[[Event], None]) -> None:
    """Send events at an even pace."""
    started = time.monotonic()
    for number, event in enumerate(events):
        time.sleep(max(0.0, started + number / per_s - time.monotonic()))
        send(event)
