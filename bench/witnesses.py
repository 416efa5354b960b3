"""Who sees that a killed program does its work again: its probe says that it can, and here is what it did.

A witness is called right after the kill. It gives the program something to do, and returns the question whether that is
done: nothing that lay there before counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from bench.users import Users
from local.demo.play import BASE
from nemesis.installation import Installation
from nemesis.poison import SILENT
from schemas.events import CandidateTrained, TrainingProgressed, TrainingRequested, VerdictReached
from shared.envelope import unseal
from shared.ids import new_id
from shared.kafka import Bus, Follower, Publisher
from shared.tables import consumed, open_database
from shared.text import short_hash
from shared.topics import AUDITS, FEEDBACK, PREDICTIONS, TRAINING_PROGRESS, VERDICTS

Works = Callable[[], bool]
Places = Mapping[tuple[str, int], int]
ENDED = ("finished", "skipped", "failed")


@dataclass
class Scene:
    """An installation that is watched. `asker` speaks for the witnesses alone; the load has users of its own."""

    here: Installation
    model: str
    asker: Users
    engine: Engine
    publisher: Publisher
    follower: Follower
    producer: Producer
    done: set[str] = field(default_factory=set)

    @property
    def bus(self) -> Bus:
        """Its topics."""
        return self.here.bus

    def ends(self) -> Places:
        """Where predictions and feedback end on the broker, after one event that is accepted now."""
        while not self.asker.say():
            pass
        with self.bus.follower(PREDICTIONS, FEEDBACK) as follower:
            return {(part.topic, part.partition): end for part, end in follower.ends().items()}

    def recorded(self) -> Places:
        """How far SQL is."""
        try:
            with self.engine.connect() as connection:
                return consumed(connection)
        except DBAPIError:
            return {}

    def is_done(self, name: str) -> bool:
        """Whether a training request was ended, or a candidate was judged."""
        for record in self.follower.poll(10):
            event = unseal(record.value, record.headers, self.bus.topic(record.topic))
            if isinstance(event, VerdictReached):
                self.done.add(event.candidate)
            elif isinstance(event, TrainingProgressed) and event.state in ENDED:
                self.done.add(event.request_id)
        return name in self.done


@contextmanager
def scene(here: Installation, model: str, asker: Users) -> Iterator[Scene]:
    """Connect to what the witnesses look at."""
    quick: dict[str, str | int | float | bool] = {
        "bootstrap.servers": here.ports.kafka,
        "reconnect.backoff.max.ms": 100,
    }
    engine = open_database(here.run.database_url)
    with here.bus.publisher() as publisher, here.bus.follower(VERDICTS, TRAINING_PROGRESS) as follower:
        yield Scene(here, model, asker, engine, publisher, follower, Producer(quick, logger=SILENT))
    engine.dispose()


def collector(scene: Scene) -> Works:
    """It accepts an event."""
    return scene.asker.say


def predictor(scene: Scene) -> Works:
    """It answers a question."""
    return scene.asker.ask


def board(_: Scene) -> Works:
    """Its page is served, which its probe has seen."""
    return lambda: True


def recorder(scene: Scene) -> Works:
    """An event that was accepted after the kill, and all before it, are in SQL."""
    ends = scene.ends()
    return lambda: _reached(scene.recorded(), ends)


def aggregator(scene: Scene) -> Works:
    """It has counted an event that was accepted after the kill, and all before it."""
    ends, group = scene.ends(), scene.bus.group("aggregator")
    # A client of its own: one that saw the broker die may not find the group's coordinator again.
    admin = AdminClient({"bootstrap.servers": scene.bus.servers}, logger=SILENT)
    return lambda: _reached(_committed(admin, group), ends)


def trainer(scene: Scene) -> Works:
    """It looks into a request; there is nothing to learn, which needs no training."""
    request = TrainingRequested(
        event_id=new_id(),
        occurred_at=datetime.now(UTC),
        source="bench",
        request_id=new_id(),
        model=scene.model,
        trigger="person",
        requested_by="bench",
    )
    scene.publisher.publish(request)
    return lambda: scene.is_done(request.request_id)


def evaluator(scene: Scene) -> Works:
    """It reaches a verdict on a candidate: the champion is loaded; the candidate's files are missing, so it fails."""
    candidate = CandidateTrained(
        event_id=new_id(),
        occurred_at=datetime.now(UTC),
        source="bench",
        request_id=new_id(),
        model=scene.model,
        task="classification",
        base=BASE,
        version=short_hash("bench", new_id()),
        trigger="person",
        requested_by="bench",
        manifest_sha256="0" * 64,
    )
    scene.publisher.publish(candidate)
    return lambda: scene.is_done(candidate.version)


def kafka(scene: Scene) -> Works:
    """It acknowledges a record."""
    acked: list[bool] = []

    def told(error: object, _: object) -> None:
        acked.append(error is None)

    scene.producer.produce(scene.bus.name(AUDITS), b"after a kill", key=b"bench", on_delivery=told)

    def works() -> bool:
        scene.producer.poll(0)
        return any(acked)

    return works


def _committed(admin: AdminClient, group: str) -> Places:
    """How far a group is."""
    try:
        answer = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(2)
    except (KafkaException, TimeoutError):
        return {}
    return {(part.topic, part.partition): part.offset for part in answer.topic_partitions}


def _reached(places: Places, ends: Places) -> bool:
    return all(places.get(part, 0) >= end for part, end in ends.items())


WITNESSES: dict[str, Callable[[Scene], Works]] = {
    "collector": collector,
    "recorder": recorder,
    "aggregator": aggregator,
    "trainer": trainer,
    "evaluator": evaluator,
    "predictor": predictor,
    "board": board,
    "kafka": kafka,
}
