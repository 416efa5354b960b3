"""A collector, a recorder and their topics, where something fails for a while; and what is there afterwards."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
from kafka import KafkaConsumer, TopicPartition
from sqlmodel import Session, SQLModel, select

from services.recorder.digest import digest
from shared.identity import Keyring, create_secret, read_secret
from shared.kafka import Bus
from shared.tables import Consumed, FeedbackRow, open_database
from shared.topics import TOPICS, Topic
from tests.crash.scene import Scene, until

RATE, LIST = 200, 20
DRAINED_S = 60


def seconds(in_ci: float) -> float:
    """How long a fault lasts: short in CI, as long as LEARNBACK_FAULT_SECONDS says elsewhere."""
    return float(os.environ.get("LEARNBACK_FAULT_SECONDS", in_ci))


@dataclass
class Place:
    """A scene with an app that posts: what it was told is in `accepted` and `refused`, by event id."""

    scene: Scene
    accepted: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    answers: list[httpx.Response] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        create_secret(self.scene.folder / "secret")
        keyring = Keyring(self.scene.folder / "keys.json", read_secret(self.scene.folder / "secret"))
        key = keyring.create("shop")
        self.http = httpx.Client(
            base_url=self.scene.url("collector"), headers={"Authorization": f"Bearer {key}"}, timeout=20
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def post(self, count: int = LIST, padding: int = 0) -> httpx.Response:
        """Post feedback on one prediction, so that its order can be told."""
        ids = [f"e{next(self._numbers):06}" for _ in range(count)]
        body = [
            {"event_id": id_, "prediction_id": "p1", "kind": "comment", "value": "x" * (padding or 1)} for id_ in ids
        ]
        answer = self.http.post("/v1/feedback", json=body)
        (self.accepted if answer.status_code in (200, 202) else self.refused).extend(ids)
        self.answers.append(answer)
        return answer

    def post_for(self, duration_s: float, rate: float = RATE) -> None:
        """Post at a rate for some time."""
        start = time.monotonic()
        for number in itertools.count():
            due = start + number * LIST / rate
            if due > start + duration_s:
                return
            time.sleep(max(0.0, due - time.monotonic()))
            self.post()

    def statuses(self) -> Counter[tuple[int, str | None]]:
        """How the requests were answered, and where their events were durable."""
        return Counter((answer.status_code, answer.headers.get("x-durability")) for answer in self.answers)

    def spooled(self) -> int:
        """Events in the collector's spool."""
        lines = self.http.get("/metrics").text.splitlines()
        return int(float(next(line.split()[1] for line in lines if line.startswith("learnback_spool_events "))))

    def stored(self) -> list[str]:
        """The ids of the feedback in SQL, as the app knows them."""
        return sorted(row.event_id.split(".", 1)[1] for row in rows(self.scene, FeedbackRow))

    def on_topic(self, topic: Topic, bus: Bus | None = None) -> list[str]:
        """The ids on a topic in the order of its log, the first of each."""
        with (bus or self.scene.bus).follower(topic) as follower:
            records = [dict(record.headers)["ce_id"].decode() for record in follower.catch_up()]
        return list(dict.fromkeys(id_.split(".", 1)[1] for id_ in records))


def rows(scene: Scene, table: type[SQLModel]) -> list[Any]:
    """All rows of a table."""
    engine = open_database(scene.database_url)
    try:
        with Session(engine) as session:
            return list(session.exec(select(table)))
    finally:
        engine.dispose()


def digest_of(scene: Scene) -> str:
    """The digest of all that was recorded."""
    engine = open_database(scene.database_url)
    try:
        return digest(engine)
    finally:
        engine.dispose()


def await_recorded(scene: Scene, *topics: Topic) -> None:
    """Wait until the recorder has committed past every record."""

    names = [scene.bus.name(topic) for topic in topics or TOPICS]

    def behind() -> int:
        places = {(row.topic, row.partition): row.next_offset for row in rows(scene, Consumed)}
        consumer = KafkaConsumer(bootstrap_servers=scene.bus.servers)
        parts = [TopicPartition(name, part) for name in names for part in consumer.partitions_for_topic(name)]
        ends = consumer.end_offsets(parts)
        consumer.close()
        return sum(end - places.get((part.topic, part.partition), 0) for part, end in ends.items())

    until(lambda: scene.answers("recorder"), "the recorder is ready")
    until(lambda: behind() == 0, "the recorder has caught up", DRAINED_S)


@contextlib.contextmanager
def collecting(place: Place, **settings: str) -> Iterator[None]:
    """A collector that answers; it is ended in order."""
    with place.scene.running("collector", **settings) as process:
        until(lambda: place.scene.answers("collector", "/livez"), "the collector answers")
        yield
        process.terminate()
        assert process.wait(30) == 0


def eventually(holds: Callable[[], object], what: str) -> None:
    """Wait for what follows a fault."""
    until(holds, what, DRAINED_S)
