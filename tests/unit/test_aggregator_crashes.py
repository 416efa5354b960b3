"""Both stages with crashes at any point: what was durable is all that a restart knows, and no count is off by one."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Generator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import Correction, Event, TrainingRequested
from services.aggregator.analyst import Analyst
from services.aggregator.facts import Crowned, Judged, Reviewed, read_fact
from services.aggregator.join import Entry, Place
from services.aggregator.joiner import Joiner
from services.aggregator.outbox import Outbox
from services.aggregator.shelf import Shelf
from services.aggregator.slices import Slice
from services.aggregator.tally import Tally
from services.aggregator.triggers import Loop
from shared.envelope import Headers, unseal
from shared.kafka import Bus
from shared.policy import Policy, PolicyFile, Trigger
from shared.topics import FEEDBACK, PREDICTIONS, TRAINING_REQUESTS
from tests.unit.aggregator_facts import LABELS, NOON, crowned
from tests.unit.test_join import heard, served

BUS = Bus("nowhere:9092", prefix="t")
POLICIES = PolicyFile(defaults=Policy(trigger=Trigger(min_examples=5, bucket_seconds=60)))
ENOUGH = 8  # corrected predictions in all, so exactly one request


class CrashError(Exception):
    """The process died."""


class Done:
    """The answer of a broker that has it."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


class Log:
    """What survives: tables, topics and committed offsets. It takes `budget` more writes before a crash."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[bytes, bytes]] = defaultdict(dict)
        self.facts: list[bytes] = []
        self.requests: list[Event] = []
        self.committed: dict[str, int] = defaultdict(int)
        self.budget: int | None = None

    def spend(self) -> None:
        if self.budget is not None:
            if self.budget == 0:
                raise CrashError
            self.budget -= 1

    def send(self, topic: str, key: bytes, value: bytes | None, headers: Headers) -> Awaitable[None]:
        self.spend()
        if topic.endswith("aggregator-outcomes.v1") and value is not None:
            self.facts.append(value)
        elif topic == BUS.name(TRAINING_REQUESTS):
            self.requests.append(unseal(value, headers, TRAINING_REQUESTS))
        return Done()


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
        self.now += 1
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


@settings(max_examples=200, deadline=None)
@given(steps, st.permutations(range(ENOUGH)), st.permutations(range(ENOUGH)))
def test_counts_and_requests_are_exact_whatever_crashes(
    plan: list[str | int], predicted: list[int], said: list[int]
) -> None:
    sources: dict[str, list[Any]] = {
        "predictions": [served().model_copy(update={"prediction_id": f"p{n}", "event_id": f"e{n}"}) for n in predicted],
        "feedback": [
            heard(Correction(value="billing"), f"f{n}").model_copy(update={"prediction_id": f"p{n}"}) for n in said
        ],
    }
    log = Log()
    log.tables["loops"][b"m"] = Loop(partition=0, model="m", labels=LABELS).model_dump_json().encode()
    log.facts.append(crowned().model_copy(update={"model": "m"}).model_dump_json().encode())
    worker = Worker(log, sources)
    for step in plan:
        if isinstance(step, str) and step != "turn":
            worker.take(step)
            continue
        log.budget = None if step == "turn" else int(step)
        try:
            worker.turn()
        except CrashError:
            log.budget = None
            worker = Worker(log, sources)
    for _ in range(6):  # left alone, it catches up
        while any([worker.take("predictions"), worker.take("feedback"), worker.take("facts")]):
            pass
        worker.turn()

    counted = {name: sum(bucket.judged for bucket in kept.buckets.values()) for name, kept in worker.slices.items()}
    assert counted == {"m|app=shop": ENOUGH, "m|label=billing": ENOUGH, "m|confusion=refund→billing": ENOUGH}
    assert all(isinstance(request, TrainingRequested) for request in log.requests)
    assert len({request.event_id for request in log.requests}) == 1
    assert len({request.model_dump_json() for request in log.requests}) == 1
