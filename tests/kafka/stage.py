"""Where a test runs a trainer or an evaluator: its topics, a database as the recorder makes it, an artifact store."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from schemas.events import Event, TrainingRequested
from shared.artifacts import ArtifactStore
from shared.envelope import unseal
from shared.errors import InvalidEventError
from shared.kafka import Bus, Follower
from shared.policy import PolicyFile
from shared.tables import open_database
from shared.topics import CANDIDATES, DEAD_LETTERS, MODELS, TRAINING_PROGRESS, VERDICTS, Topic
from tests.conftest import free_port
from tests.unit.recorder_story import MODEL, Database, added, at
from tests.weights import BASE

DEADLINE_S = 90
POISON = (b"not json", b'{"event_id": "x"}', None)
EventType = TypeVar("EventType", bound=Event)


def until(what: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """Wait for something to come true."""
    deadline = time.monotonic() + deadline_s
    while not what():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.05)


def limit(bus: Bus, topic: Topic, size: int) -> None:
    """Let the broker take records of at most this size on a topic."""
    admin = KafkaAdminClient(bootstrap_servers=bus.servers)
    try:
        admin.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, bus.name(topic), {"max.message.bytes": str(size)})]
        )
    finally:
        admin.close()


@dataclass
class Stage:
    """A bus, a folder, and all that the services said on the bus."""

    bus: Bus
    folder: Path
    ear: Follower
    policies: PolicyFile
    database: Database
    heard: list[Event] = field(default_factory=list)
    letters: list[Any] = field(default_factory=list)

    @property
    def artifacts(self) -> ArtifactStore:
        """The store of this test."""
        return ArtifactStore(f"file://{self.folder}/artifacts")

    def of(self, kind: type[EventType]) -> list[EventType]:
        """The events of a kind that were said so far."""
        self._listen()
        return [event for event in self.heard if isinstance(event, kind)]

    def dead_letters(self) -> list[tuple[str, str, int]]:
        """Service, reason and offset of what was put aside so far."""
        self._listen()
        headers = [{name: value.decode() for name, value in letter.headers} for letter in self.letters]
        return [(one["x-dlq-service"], one["x-dlq-reason"], int(one["x-dlq-offset"])) for one in headers]

    def publish(self, *events: Event) -> None:
        """Say something on the bus."""
        with self.bus.publisher() as publisher:
            publisher.publish(*events)

    def poison(self, topic: Topic) -> None:
        """Put what is no event where the model's next event will be."""
        with self.bus.publisher() as publisher:
            for value in POISON:
                publisher.producer.send(self.bus.name(topic), key=MODEL.encode(), value=value)
            publisher.producer.flush()

    def _listen(self) -> None:
        for record in self.ear.poll(100):
            topic = self.bus.topic(record.topic)
            if topic is DEAD_LETTERS:
                self.letters.append(record)
                continue
            try:
                self.heard.append(unseal(record.value, record.headers, topic))
            except InvalidEventError:
                assert record.value in POISON


@contextmanager
def process(stage: Stage, service: str, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A service as its users run it."""
    settings = {
        "LEARNBACK_KAFKA_BOOTSTRAP_SERVERS": stage.bus.servers,
        "LEARNBACK_TOPIC_PREFIX": stage.bus.prefix,
        "LEARNBACK_DATABASE_URL": str(stage.database.engine.url),
        "LEARNBACK_ARTIFACTS_URL": f"file://{stage.folder}/artifacts",
        "LEARNBACK_POLICY_FILE": f"{stage.folder}/learnback.toml",
        f"LEARNBACK_{service.upper()}_PORT": str(free_port()),
        f"LEARNBACK_{service.upper()}_THREADS": "1",
    }
    command = [sys.executable, "-m", f"services.{service}"]
    with subprocess.Popen(command, env=os.environ | settings | more) as running:
        try:
            yield running
        finally:
            running.kill()


@contextmanager
def staged(bus: Bus, folder: Path, policies: PolicyFile) -> Iterator[Stage]:
    """Set a stage."""
    database = Database(policies=policies, engine=open_database(f"sqlite:///{folder}/learnback.db"))
    with bus.follower(TRAINING_PROGRESS, CANDIDATES, VERDICTS, MODELS, DEAD_LETTERS) as ear:
        yield Stage(bus, folder, ear, policies, database)
    database.engine.dispose()


def card(stage: Stage, seeds: list[tuple[str, str]], anchors: list[tuple[str, str]]) -> TrainingRequested:
    """A request for a new model on the packaged base, whose datasets the recorder finds."""
    request = added(stage.database, seeds, anchors)
    assert request.card is not None
    return request.model_copy(update={"card": request.card.model_copy(update={"base": BASE})})


def asked(name: str, model: str = MODEL) -> TrainingRequested:
    """A request for an increment."""
    return TrainingRequested(
        event_id=f"ask-{name}",
        occurred_at=at(100),
        source="aggregator",
        request_id=f"r-{name}",
        model=model,
        trigger="examples",
        requested_by="aggregator",
    )
