"""The aggregator on a real broker, as a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from schemas.events import (
    CandidateTrained,
    Correction,
    ErrorSliceUpdated,
    Event,
    FeedbackReceived,
    ModelStateChanged,
    PredictionServed,
    ReviewDecided,
    Thumbs,
    TrainingProgressed,
    TrainingRequested,
    VerdictReached,
)
from services.aggregator.topics import OUTCOMES
from shared.envelope import unseal
from shared.kafka import Bus, Publisher
from shared.topics import (
    CANDIDATES,
    DEAD_LETTERS,
    ERROR_SLICES,
    FEEDBACK,
    MODELS,
    PREDICTIONS,
    REVIEWS,
    TRAINING_PROGRESS,
    TRAINING_REQUESTS,
    VERDICTS,
    Topic,
)
from tests.conftest import free_port

pytestmark = pytest.mark.kafka

MODEL = "support-intent"
ENOUGH = 5  # usable examples that trigger a request here
DEADLINE_S = 40


@dataclass
class Service:
    """One aggregator process and the topics around it."""

    bus: Bus
    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start it and wait until it is ready; returns the seconds that took."""
        environment = {
            **os.environ,
            "LEARNBACK_KAFKA_BOOTSTRAP_SERVERS": self.bus.servers,
            "LEARNBACK_TOPIC_PREFIX": self.bus.prefix,
            "LEARNBACK_POLICY_FILE": str(self.folder / "learnback.toml"),
            "LEARNBACK_AGGREGATOR_PORT": str(self.port),
            "LEARNBACK_AGGREGATOR_DATA_DIR": str(self.folder / "data"),
        }
        began = time.monotonic()
        with (self.folder / "aggregator.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.aggregator"], env=environment, stdout=log, stderr=log
            )
        wait_for(self.is_ready, "the aggregator to be ready", self)
        return time.monotonic() - began

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz") as answer:
            return bool(answer.status == 200)
        return False

    def end(self, how: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        code = self.process.wait(30)
        self.process = None
        return code

    def log(self) -> str:
        return (self.folder / "aggregator.log").read_text()


def wait_for(holds: Callable[[], bool], what: str, service: Service) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        dead = service.process is not None and service.process.poll() is not None
        if dead or time.monotonic() > deadline:
            pytest.fail(f"Waited for {what}; the log ends: {service.log()[-3000:]}")
        time.sleep(0.05)


@dataclass
class Reader:
    """All events of a topic so far."""

    bus: Bus
    topic: Topic
    records: list[Any] = field(default_factory=list)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _follower: Any = None

    def __post_init__(self) -> None:
        self._follower = self._stack.enter_context(self.bus.follower(self.topic))

    def read(self) -> list[Any]:
        self.records.extend(self._follower.poll(50))
        return self.records

    def events(self) -> list[Event]:
        return [unseal(record.value, record.headers, self.topic) for record in self.read()]

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def service(bus: Bus, tmp_path: Path) -> Iterator[Service]:
    (tmp_path / "learnback.toml").write_text(f"[defaults.trigger]\nmin_examples = {ENOUGH}\nbucket_seconds = 3600\n")
    running = Service(bus, tmp_path)
    running.start()
    yield running
    if running.process is not None:
        running.process.kill()
        running.process.wait(10)


@pytest.fixture
def publisher(bus: Bus) -> Iterator[Publisher]:
    with bus.publisher() as publisher:
        yield publisher


@pytest.fixture
def read(bus: Bus) -> Iterator[Callable[[Topic], Reader]]:
    with contextlib.ExitStack() as stack:

        def open_reader(topic: Topic) -> Reader:
            reader = Reader(bus, topic)
            stack.callback(reader.close)
            return reader

        yield open_reader


def about(source: str) -> dict[str, Any]:
    return {"event_id": uuid.uuid4().hex, "occurred_at": datetime.now(UTC), "source": source}


def prediction(output: str = "refund", solicit: bool = False, model: str = MODEL) -> PredictionServed:
    return PredictionServed(
        **about("predictor"),
        prediction_id=uuid.uuid4().hex,
        model=model,
        version="v0",
        input="secret words of a user",
        output=output,
        solicit=solicit,
        app="shop",
    )


def correction(of: PredictionServed, right: str) -> FeedbackReceived:
    said = Correction(value=right)
    return FeedbackReceived(**about("collector"), prediction_id=of.prediction_id, feedback=said, app="shop")


def thumbs(of: PredictionServed, value: Any) -> FeedbackReceived:
    said = Thumbs(value=value)
    return FeedbackReceived(**about("collector"), prediction_id=of.prediction_id, feedback=said, app="shop")


def champion(version: str) -> ModelStateChanged:
    return ModelStateChanged(
        **about("evaluator"),
        model=MODEL,
        alias="champion",
        task="classification",
        base="some/base",
        version=version,
        manifest_sha256="0" * 64,
        decision="d1",
        reason="a person asked",
    )


def candidate(request: TrainingRequested, version: str) -> CandidateTrained:
    return CandidateTrained(
        **about("trainer"),
        request_id=request.request_id,
        model=MODEL,
        task="classification",
        base="some/base",
        version=version,
        trigger=request.trigger,
        requested_by="aggregator",
        manifest_sha256="0" * 64,
    )


def labelled() -> CandidateTrained:
    """A version that answers with the labels of these stories: slices name no others."""
    added = TrainingRequested(
        **about("collector"), request_id="r-added", model=MODEL, trigger="person", requested_by="shop"
    )
    return candidate(added, "v0").model_copy(update={"labels": ("billing", "login", "refund")})


def verdict(version: str) -> VerdictReached:
    return VerdictReached(**about("evaluator"), model=MODEL, candidate=version, outcome="promote", reason="better")


def corrected(count: int) -> list[Event]:
    pairs = [(served, correction(served, "billing")) for served in (prediction() for _ in range(count))]
    return [event for pair in pairs for event in pair]


def newest_counts(reader: Reader) -> dict[str, tuple[int, int]]:
    """Judged and wrong per slice, over all buckets."""
    events = [event for event in reader.events() if isinstance(event, ErrorSliceUpdated)]
    newest = {(event.slice, event.bucket): event for event in events}
    sums: dict[str, tuple[int, int]] = {}
    for event in newest.values():
        judged, wrong = sums.get(event.slice, (0, 0))
        sums[event.slice] = judged + event.judged, wrong + event.wrong
    return sums


def test_feedback_in_either_order_becomes_counts_per_slice(
    service: Service, publisher: Publisher, read: Callable[[Topic], Reader]
) -> None:
    slices = read(ERROR_SLICES)
    first, second, third = prediction("refund"), prediction("refund"), prediction("login")
    changed = thumbs(second, "down")
    own_words = prediction("login")
    publisher.publish(labelled())
    publisher.publish(first, correction(first, "billing"))  # the usual order
    publisher.publish(changed, thumbs(third, "up"))
    publisher.publish(second, third)  # feedback came first
    publisher.publish(own_words, correction(own_words, "secret words of a user"))
    publisher.publish(changed)  # sent twice by the app: same event id
    publisher.publish(correction(second, "billing"))  # the user adds what is right: the count moves

    expected = {
        "app=shop": (4, 3),
        "label=billing": (2, 2),
        "confusion=refund→billing": (2, 2),
        "label=login": (1, 0),
        "label=(new)": (1, 1),
        "confusion=login→(new)": (1, 1),
    }
    wait_for(lambda: expected.items() <= newest_counts(slices).items(), f"{expected}", service)
    assert newest_counts(slices).get("label=refund", (0, 0)) == (0, 0)
    assert not any(b"secret words" in record.value for record in slices.read())
    assert "secret words" not in service.log()


def test_one_request_at_a_time_and_the_next_after_the_verdict(
    service: Service, publisher: Publisher, read: Callable[[Topic], Reader]
) -> None:
    requests, slices = read(TRAINING_REQUESTS), read(ERROR_SLICES)
    publisher.publish(*corrected(ENOUGH))
    wait_for(lambda: newest_counts(slices).get("app=shop") == (ENOUGH, ENOUGH), "the counts", service)
    assert requests.events() == []  # there is no champion to improve

    publisher.publish(champion("v0"))
    wait_for(lambda: len(requests.events()) == 1, "the first request", service)
    publisher.publish(*corrected(2 * ENOUGH))
    wait_for(lambda: newest_counts(slices).get("app=shop") == (3 * ENOUGH, 3 * ENOUGH), "the counts", service)
    (request,) = requests.events()
    assert isinstance(request, TrainingRequested)
    assert (request.model, request.trigger, request.requested_by) == (MODEL, "examples", "aggregator")

    publisher.publish(verdict("v1"), candidate(request, "v1"))  # two topics: any order
    wait_for(lambda: len(requests.events()) == 2, "the second request", service)
    second = requests.events()[1]
    assert isinstance(second, TrainingRequested)
    assert second.request_id != request.request_id


def test_a_request_that_failed_keeps_its_examples_for_the_next(
    service: Service, publisher: Publisher, read: Callable[[Topic], Reader]
) -> None:
    requests = read(TRAINING_REQUESTS)
    publisher.publish(champion("v0"), *corrected(ENOUGH))
    wait_for(lambda: len(requests.events()) == 1, "the first request", service)
    request = requests.events()[0]
    assert isinstance(request, TrainingRequested)
    failed = TrainingProgressed(
        **about("trainer"), request_id=request.request_id, model=MODEL, state="failed", detail="no space left"
    )
    publisher.publish(failed, *corrected(16))  # every_min_examples: so many are a reason to try again
    wait_for(lambda: len(requests.events()) == 2, "the second request", service)
    second = requests.events()[1]
    assert isinstance(second, TrainingRequested)
    assert second.detail == f"{ENOUGH + 16} new usable examples"


SOURCES = (PREDICTIONS, FEEDBACK, REVIEWS, MODELS, TRAINING_PROGRESS, CANDIDATES, VERDICTS, OUTCOMES)


def test_poison_goes_to_dead_letters_and_the_next_record_is_processed(
    service: Service, publisher: Publisher, read: Callable[[Topic], Reader], bus: Bus
) -> None:
    dead, requests = read(DEAD_LETTERS), read(TRAINING_REQUESTS)
    poison = [b"\xff\xfe not json", b'{"secret": "words of a user"}', None]
    producer = KafkaProducer(bootstrap_servers=bus.servers, acks="all")
    for topic in SOURCES:
        for part in range(topic.partitions):
            for value in poison:
                producer.send(bus.name(topic), key=b"k", value=value, partition=part)
    producer.flush()
    producer.close()
    expected = (len(poison) - 1) * sum(topic.partitions for topic in SOURCES)  # what says nothing is passed over
    wait_for(lambda: len(dead.read()) == expected, f"{expected} dead letters", service)

    headers = [dict(record.headers) for record in dead.read()]
    assert {part["x-dlq-topic"].decode() for part in headers} == {bus.name(topic) for topic in SOURCES}
    reasons = [part["x-dlq-reason"].decode() for part in headers]
    assert set(reasons) == {"decode_error", "schema_error", "unknown_type"}
    assert all(part["x-dlq-service"] == b"aggregator" for part in headers)
    assert b"words of a user" not in b"".join(part["x-dlq-error"] for part in headers)
    assert "words of a user" not in service.log()

    # Every topic still leads where it led before: this story needs all of them but the reviews.
    publisher.publish(champion("v0"), *corrected(ENOUGH - 1))
    publisher.publish(
        ReviewDecided(
            **about("collector"), subject_kind="example", subject="e1", model=MODEL, decision="accept", reviewer="ann"
        )
    )
    wait_for(lambda: len(requests.events()) == 1, "the first request", service)
    request = requests.events()[0]
    assert isinstance(request, TrainingRequested)
    publisher.publish(candidate(request, "v1"), verdict("v1"), *corrected(ENOUGH))
    wait_for(lambda: len(requests.events()) == 2, "the second request", service)


def test_sigterm_ends_it_well(service: Service, publisher: Publisher) -> None:
    publisher.publish(*corrected(3))
    assert service.end(signal.SIGTERM) == 0
    assert "Traceback" not in service.log()


def test_kill_9_under_load_loses_and_doubles_nothing(
    service: Service, publisher: Publisher, read: Callable[[Topic], Reader]
) -> None:
    requests, slices = read(TRAINING_REQUESTS), read(ERROR_SLICES)
    publisher.publish(labelled(), champion("v0"))
    total = 0
    for _ in range(2):
        publisher.publish(*corrected(100))
        total += 100
        seen = len(slices.read())
        wait_for(lambda seen=seen: len(slices.read()) > seen, "the aggregator at work", service)  # type: ignore[misc]
        publisher.publish(*corrected(100))
        total += 100
        service.end(signal.SIGKILL)
        service.start()
    publisher.publish(*corrected(1))
    total += 1
    wait_for(lambda: newest_counts(slices).get("app=shop", (0, 0))[0] >= total, f"{total} counted", service)
    assert newest_counts(slices)["app=shop"] == (total, total)
    assert newest_counts(slices)["confusion=refund→billing"] == (total, total)
    assert len({event.event_id for event in requests.events()}) == 1
