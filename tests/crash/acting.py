"""Stories of the services that pass events on: collector, recorder, aggregator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import httpx
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, SQLModel

from schemas.events import Event, TrainingRequested
from services.recorder.digest import digest
from shared.identity import Keyring, create_secret, read_secret
from shared.kafka import Follower
from shared.tables import Consumed, DeadLetter, FeedbackRow, Prediction, open_database
from shared.topics import ERROR_SLICES, FEEDBACK, PREDICTIONS, TRAINING_REQUESTS
from tests.conftest import free_port
from tests.crash.scene import ENOUGH, Scene, until
from tests.kafka.test_aggregator import Reader, champion, labelled, newest_counts
from tests.kafka.test_aggregator import corrected as corrections
from tests.unit.recorder_story import Database, corrected

THUMBS = {"event_id": "e1", "prediction_id": "p1", "kind": "thumbs", "value": "down"}
PAIRS = 40


def an_app_posts_until_it_is_told_202(scene: Scene, point: str) -> None:
    """The app insists; after all the deaths the recorder has one row."""
    key = _key(scene)
    if "spool" in point:
        _spooled(scene, point, key)
    else:
        with scene.dying(point):
            until(lambda: scene.answers("collector"), "the collector is ready")
            assert _post(scene, key) is None, "it was to die in the middle of the request"
    with scene.running("collector"):
        until(lambda: _post(scene, key) in (200, 202), "the app is told that the event is durable")
        with scene.running("recorder"):
            until(lambda: _count(scene, FeedbackRow) == 1, "the event is in SQL")
            _recorded_all(scene)
            assert (_count(scene, FeedbackRow), _count(scene, DeadLetter)) == (1, 0)


def _spooled(scene: Scene, point: str, key: str) -> None:
    """The same while the broker is away; a place of draining is reached when it is back."""
    away = {"LEARNBACK_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}"}
    if "drain" not in point:
        with scene.dying(point, **away):
            until(lambda: scene.answers("collector", "/livez"), "the collector answers")
            assert _post(scene, key) is None, "it was to die in the middle of the request"
        return
    with scene.running("collector", **away):
        until(lambda: scene.answers("collector", "/livez"), "the collector answers")
        assert _post(scene, key) == 202
    with scene.dying(point):
        pass


def the_recorder_records_every_event_once(scene: Scene, point: str) -> None:
    """Predictions, feedback and poison; what a recorder that never died would have has the same digest."""
    events: list[Event] = []
    for number in range(PAIRS):
        events += corrected(f"p{number}", f"text {number % 30}", "abc"[number % 2], number)
    with scene.bus.publisher() as publisher:
        publisher.publish(*events, *events[:5])
        publisher.producer.send(scene.bus.name(PREDICTIONS), key=b"k", value=b"poison").get(10)
        with scene.dying(point):
            pass
        with scene.running("recorder"):
            until(lambda: _count(scene, DeadLetter) == 1, "the poison is in the dead letters")
            _recorded_all(scene)
    assert (_count(scene, Prediction), _count(scene, FeedbackRow)) == (PAIRS, PAIRS)
    whole = Database()
    whole.record(*events)
    with _opened(scene) as engine, Session(engine) as session, Session(whole.engine) as other:
        other.add(DeadLetter(**session.scalars(select(DeadLetter)).one().model_dump()))
        other.commit()
        assert digest(engine) == digest(whole.engine)


def the_aggregator_asks_once(scene: Scene, point: str) -> None:
    """Enough corrections: one request, and counts that are exact."""
    with scene.bus.publisher() as publisher:
        publisher.publish(labelled(), champion("v0"))
    requests, slices = Reader(scene.bus, TRAINING_REQUESTS), Reader(scene.bus, ERROR_SLICES)
    with contextlib.closing(requests), contextlib.closing(slices):
        with scene.dying(point), scene.bus.publisher() as publisher:
            publisher.publish(*corrections(ENOUGH))
        with scene.running("aggregator"):
            until(lambda: scene.answers("aggregator"), "the aggregator is ready again")
            until(requests.events, "training is asked for")
            exact = {"label=billing": (ENOUGH, ENOUGH), "confusion=refund→billing": (ENOUGH, ENOUGH)}
            until(lambda: newest_counts(slices).items() >= exact.items(), "the counts are exact")
            asked = {event.event_id for event in requests.events() if isinstance(event, TrainingRequested)}
    assert len(asked) == 1


def _key(scene: Scene) -> str:
    create_secret(scene.folder / "secret")
    return Keyring(scene.folder / "keys.json", read_secret(scene.folder / "secret")).create("shop")


def _post(scene: Scene, key: str) -> int | None:
    """The status of the answer; None when the connection ended without one."""
    with contextlib.suppress(httpx.TransportError):
        url = f"{scene.url('collector')}/v1/feedback"
        return httpx.post(url, json=THUMBS, headers={"Authorization": f"Bearer {key}"}, timeout=20).status_code
    return None


def _recorded_all(scene: Scene) -> None:
    """Wait until the recorder has committed past every record of the topics that apps write."""
    with scene.bus.follower(PREDICTIONS, FEEDBACK) as follower:
        ends = follower.consumer.end_offsets(follower.parts)
        until(lambda: _places(scene, follower) == sum(ends.values()), "the recorder has read everything")


def _places(scene: Scene, follower: Follower) -> int:
    names = {part.topic for part in follower.parts}
    with _opened(scene) as engine, Session(engine) as session:
        return sum(row.next_offset for row in session.scalars(select(Consumed)) if row.topic in names)


def _count(scene: Scene, table: type[SQLModel]) -> int:
    with _opened(scene) as engine, engine.connect() as connection:
        try:
            return connection.execute(select(func.count()).select_from(table)).scalar_one()
        except OperationalError:  # no table yet
            return 0


@contextlib.contextmanager
def _opened(scene: Scene) -> Iterator[Engine]:
    engine = open_database(scene.database_url)
    try:
        yield engine
    finally:
        engine.dispose()
