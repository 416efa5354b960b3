"""Both stages with crashes at any point: a restart knows what was durable; no count, nor what is told, is off."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Generator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import Correction, ErrorSliceUpdated, Event, TrainingRequested
from services.aggregator.analyst import Analyst
from services.aggregator.facts import Crowned, Judged, Reviewed, read_fact
from services.aggregator.join import Entry, Place
from services.aggregator.joiner import Joiner
from services.aggregator.outbox import Outbox
from services.aggregator.shelf import Shelf
from services.aggregator.slices import Slice
from services.aggregator.tally import Tally
from services.aggregator.triggers import Loop
from services.aggregator.turn import TURN_S
from shared.envelope import Headers, unseal
from shared.kafka import Bus
from shared.policy import Policy, PolicyFile, Trigger
from shared.topics import ERROR_SLICES, FEEDBACK, PREDICTIONS, TRAINING_REQUESTS
from tests.unit.aggregator_facts import LABELS, NOON, crowned
from tests.unit.test_join import heard, served

BUS = Bus("nowhere:9092", prefix="t")
POLICIES = PolicyFile(defaults=Policy(trigger=Trigger(min_examples=5, bucket_seconds=60)))
ENOUGH = 8  # corrected predictions in all, so exactly one request


class CrashError(Exception):
    """The process died."""


class Done:
    """The answer of a broker, which may take a record only when it is waited for."""

    def __init__(self, take: Callable[[], None] | None = None) -> None:
        self._take = take

    def __await__(self) -> Generator[None, None, None]:
        if self._take:
            self._take()
        yield from ()


class Log:
    """What survives: tables, topics and committed offsets. It takes `budget` more writes before a crash.

    What is sent to different topics is taken in any order: `tables_first`, or as it is sent.
    """

    def __init__(self, tables_first: bool = False) -> None:
        self.tables_first = tables_first
        self.tables: dict[str, dict[bytes, bytes]] = defaultdict(dict)
        self.facts: list[bytes] = []
        self.requests: list[Event] = []
        self.published: dict[str, int] = {}
        self.committed: dict[str, int] = defaultdict(int)
        self.budget: int | None = None

    def spend(self) -> None:
        if self.budget is not None:
            if self.budget == 0:
                raise CrashError
            self.budget -= 1

    def send(self, topic: str, key: bytes, value: bytes | None, headers: Headers) -> Awaitable[None]:
        if self.tables_first:
            return Done(lambda: self.take(topic, value, headers))
        self.take(topic, value, headers)
        return Done()

    def take(self, topic: str, value: bytes | None, headers: Headers) -> None:
        self.spend()
        if topic.endswith("aggregator-outcomes.v1") and value is not None:
            self.facts.append(value)
        elif topic == BUS.name(TRAINING_REQUESTS):
            self.requests.append(unseal(value, headers, TRAINING_REQUESTS))
        elif topic == BUS.name(ERROR_SLICES):
            update = unseal(value, headers, ERROR_SLICES)
            assert isinstance(update, ErrorSliceUpdated)
            self.published[f"{update.model}|{update.slice}"] = update.judged  # all are of one bucket


class Table:
    """A Faust table: a local store that starts with what is durable, and a changelog."""

    def __init__(self, log: Log, name: str) -> None:
        self._log, self._name = log, name
        self.data: dict[bytes, bytes] = dict(log.tables[name])

    def send_changelog(self, partition: int | None, key: Any, value: Any, *_: Any) -> Awaitable[None]:
        self._log.spend()
        if value is None:
            self._log.tables[self._name].pop(key, None)
        else:
            self._log.tables[self._name][key] = value
        return Done()


class Worker:
    """One life of the aggregator, from one crash to the next."""

    def __init__(self, log: Log, sources: dict[str, list[Any]]) -> None:
        self.log, self.sources = log, sources
        self.joins = Shelf(Table(log, "joins"), Entry)
        self.loops = Shelf(Table(log, "loops"), Loop)
        self.slices = Shelf(Table(log, "slices"), Slice)
        self.outbox = Outbox(BUS, log.send)
        self.joiner = Joiner(self.joins, 1000, self.outbox.tell, PolicyFile())
        self.analyst = Analyst(self.loops, Tally(self.slices, POLICIES, self.outbox.emit), POLICIES, self.outbox.emit)
        self.joiner.recover()
        self.analyst.recover()
        self.read = dict(log.committed)
        self.now = NOON
        self.handlers: dict[str, Callable[[Any, int], None]] = {
            "predictions": lambda event, at: self.joiner.on_prediction_served(event, Place(PREDICTIONS.name, 0, at)),
            "feedback": lambda event, at: self.joiner.on_feedback_received(event, Place(FEEDBACK.name, 0, at)),
            "facts": lambda raw, _: self.analyst.on_fact(self.fact(raw), 0, self.now),
        }

    def fact(self, raw: bytes) -> Judged | Reviewed | Crowned:
        return read_fact(raw)

    def take(self, source: str) -> bool:
        """Handle the next record of a source; whether there was one."""
        records: list[Any] = self.log.facts if source == "facts" else self.sources[source]
        offset = self.read.get(source, 0)
        if offset >= len(records):
            return False
        self.handlers[source](records[offset], offset)
        self.read[source] = offset + 1
        return True

    def turn(self) -> None:
        """What `turn._turn` does; offsets are committed after it, unless it ends in a crash."""
        self.now += TURN_S
        self.analyst.publish(self.now)
        self.analyst.look(self.now)
        read = dict(self.read)
        written = [*self.joins.write(), *self.loops.write(), *self.slices.write()]
        asyncio.run(self.outbox.settle(written))
        self.analyst.announce()
        if self.log.budget is not None:
            raise CrashError
        self.log.committed.update(read)


# Read the next record of a source, make a turn, or (a number) crash in a turn after so many writes, at the latest when
# all is written and nothing committed.
steps = st.lists(
    st.sampled_from(["predictions", "feedback", "facts", "predictions", "feedback", "facts", "turn"])
    | st.integers(0, 12),
    min_size=60,
    max_size=120,
)


# Turns and crashes when all is read.
endings = st.lists(st.sampled_from([None, None, 0, 1, 2, 4, 8]), max_size=6)


@settings(max_examples=300, deadline=None)
@given(steps, endings, st.permutations(range(ENOUGH)), st.permutations(range(ENOUGH)), st.booleans())
def test_counts_and_requests_are_exact_whatever_crashes(
    plan: list[str | int], ends: list[int | None], predicted: list[int], said: list[int], tables_first: bool
) -> None:
    sources: dict[str, list[Any]] = {
        "predictions": [served().model_copy(update={"prediction_id": f"p{n}", "event_id": f"e{n}"}) for n in predicted],
        "feedback": [
            heard(Correction(value="billing"), f"f{n}").model_copy(update={"prediction_id": f"p{n}"}) for n in said
        ],
    }
    log = Log(tables_first)
    log.tables["loops"][b"m"] = Loop(partition=0, model="m", labels=LABELS).model_dump_json().encode()
    log.facts.append(crowned().model_copy(update={"model": "m"}).model_dump_json().encode())
    worker = Worker(log, sources)
    for step in plan:
        if isinstance(step, str) and step != "turn":
            worker.take(step)
        else:
            worker = _turn(worker, None if step == "turn" else int(step))
    for end in [*ends, *[None] * 12]:  # left alone, it catches up
        while any([worker.take("predictions"), worker.take("feedback"), worker.take("facts")]):
            pass
        worker = _turn(worker, end)

    counted = {name: sum(bucket.judged for bucket in kept.buckets.values()) for name, kept in worker.slices.items()}
    assert counted == {"m|app=shop": ENOUGH, "m|label=billing": ENOUGH, "m|confusion=refund→billing": ENOUGH}
    assert log.published == counted
    assert all(isinstance(request, TrainingRequested) for request in log.requests)
    assert len({request.event_id for request in log.requests}) == 1
    assert len({request.model_dump_json() for request in log.requests}) == 1


def _turn(worker: Worker, budget: int | None) -> Worker:
    """A turn, and the worker that goes on after it."""
    log = worker.log
    log.budget = budget
    try:
        worker.turn()
    except CrashError:
        log.budget = None
        return Worker(log, worker.sources)
    return worker
