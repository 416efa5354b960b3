"""The recorder reads ahead: in the order of time, one batch, and never past what the group or SQL says."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from services.recorder.ahead import Ahead
from services.recorder.feed import Feed
from services.recorder.records import Part, Record
from services.recorder.timeline import Timeline
from shared.envelope import seal
from shared.errors import FatalError
from shared.topics import FEEDBACK, PREDICTIONS
from tests.unit.recorder_records import BUS, Tape
from tests.unit.recorder_story import served

HERE, THERE = Part(BUS.name(PREDICTIONS), 0), Part(BUS.name(FEEDBACK), 0)
DEADLINE_S = 20


@dataclass(frozen=True)
class Message:
    """A record as librdkafka hands it out."""

    record: Record

    def error(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 2, self.record.timestamp

    def __getattr__(self, name: str) -> Callable[[], Any]:
        return lambda: getattr(self.record, name)


@dataclass
class Group:
    """A consumer in memory: what it is asked for next is what the test put there, messages or something to do."""

    script: deque[list[Record] | Callable[[], None]] = field(default_factory=deque)
    ends: dict[Part, int] = field(default_factory=dict)

    def consume(self, _most: int, _timeout_s: float) -> list[Message]:
        step = self.script.popleft() if self.script else []
        if isinstance(step, list):
            return [Message(record) for record in step]
        step()
        return []

    def get_watermark_offsets(self, part: TopicPartition, cached: bool) -> tuple[int, int]:
        assert cached
        return 0, self.ends.get(Part(part.topic, part.partition), 0)

    def assign(self, _parts: list[TopicPartition]) -> None:
        pass

    def unassign(self) -> None:
        pass


@dataclass
class Desk:
    """A feed whose group is in memory, and the reader on it."""

    group: Group = field(default_factory=Group)
    recorded: dict[Part, int] = field(default_factory=dict)
    tape: Tape = field(default_factory=Tape)
    feed: Feed = field(init=False)
    ahead: Ahead = field(init=False)

    def __post_init__(self) -> None:
        self.feed = Feed(cast(Consumer, self.group), lambda: self.recorded)
        self.ahead = Ahead(self.feed, self.tape.recording.intake, 10, 0)
        self.give(HERE, THERE)

    def give(self, *parts: Part) -> None:
        self.feed._given(self.feed.consumer, [TopicPartition(*part) for part in parts])

    def take_all(self) -> None:
        self.feed._taken(self.feed.consumer, [])

    def records(self, *names: str) -> list[Record]:
        return [self.tape.add(seal(served(name, name))) for name in names]


@pytest.fixture
def desk() -> Iterator[Desk]:
    one = Desk()
    yield one
    one.ahead.reader.shutdown()


def offsets(polled: Any) -> list[int]:
    return [record.offset for record in polled.get(HERE, [])]


def test_the_next_batch_is_read_and_opened_while_this_one_is_recorded(desk: Desk) -> None:
    desk.group.script += [desk.records("a"), desk.records("b"), desk.records("c")]
    first = desk.ahead.next()
    assert (offsets(first.polled), first.batch) == ([0], None)
    with desk.ahead.reading(set()):
        pass
    second = desk.ahead.next()
    assert (offsets(second.polled), second.batch) == ([1], None)  # no batch of its partition was recorded yet
    with desk.ahead.reading({HERE}):
        pass
    third = desk.ahead.next()
    assert offsets(third.polled) == [2]
    assert third.batch is not None
    assert [event.event_id for event in third.batch.events] == ["e-c"]


def test_partitions_go_to_others_only_when_the_batch_is_recorded(desk: Desk) -> None:
    asked = threading.Event()

    def revoke() -> None:
        asked.set()
        desk.take_all()

    desk.group.script += [desk.records("a"), revoke, desk.records("b")]
    read = desk.ahead.next()
    with desk.ahead.reading({HERE}):
        assert asked.wait(DEADLINE_S)
        assert desk.feed.ready, "taken away in the middle of a batch"
        desk.feed.advance(read.polled)
        assert desk.feed.done[HERE] == 1
    assert not desk.feed.ready
    assert desk.ahead.next().polled == {}
    assert desk.ahead.next().polled == {}, "read from a partition that is somebody else's"


def test_what_waits_is_forgotten_with_its_partition(desk: Desk) -> None:
    records = desk.records("a", "b", "c", "d")
    desk.group.script += [records, desk.take_all, lambda: desk.give(HERE)]
    assert offsets(desk.feed.poll(1, 0)) == [0]
    assert desk.feed.poll(1, 0) == {}, "handed out after it was taken away"
    assert desk.feed.poll(1, 0) == {}
    desk.recorded = {HERE: 1}
    desk.group.script += [records]
    assert offsets(desk.feed.poll(10, 0)) == [1, 2, 3], "it goes on where SQL stands, with nothing twice"


def test_what_came_a_moment_before_its_partition_went_is_not_handed_out(desk: Desk) -> None:
    desk.group.script += [desk.records("a"), desk.take_all]
    assert desk.feed.poll(10, 0.05) == {}


def test_a_batch_that_fails_is_read_again_with_all_that_was_read_behind_it(desk: Desk) -> None:
    records = desk.records("a", "b")
    desk.group.script += [records[:1], records[1:]]
    desk.ahead.next()
    with pytest.raises(KeyError), desk.ahead.reading({HERE}):
        raise KeyError
    desk.ahead.rewind()
    desk.group.script += [records]
    assert offsets(desk.ahead.next().polled) == [0, 1]


def test_the_end_of_a_member_is_told_though_the_batch_before_failed_too(desk: Desk) -> None:
    def end() -> None:
        raise FatalError("over")

    desk.group.script += [desk.records("a"), end]
    desk.ahead.next()
    with pytest.raises(KeyError), desk.ahead.reading({HERE}):
        raise KeyError
    desk.ahead.rewind()
    with pytest.raises(FatalError, match="over"):
        desk.ahead.next()


def test_feedback_waits_for_the_predictions_that_were_written_before_it(desk: Desk) -> None:
    (answer,) = desk.records("a")
    said = answer._replace(topic=THERE.topic, timestamp=answer.timestamp + 5)
    desk.group.ends = {HERE: 1, THERE: 1}
    desk.group.script += [[said], [answer]]
    polled = desk.feed.poll(2, 60)
    assert [record.topic for records in polled.values() for record in records] == [HERE.topic, THERE.topic]


def test_what_is_late_for_ever_holds_up_nobody(desk: Desk) -> None:
    desk.group.ends = {THERE: 5}
    desk.group.script += [desk.records("a")]
    assert offsets(desk.feed.poll(10, 0)) == [0]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=60), st.integers(1, 20))
def test_a_timeline_hands_out_everything_once_and_each_partition_in_its_order(
    written: list[tuple[int, int]], most: int
) -> None:
    timeline = Timeline({"t1": 10})
    log = [Record(f"t{topic}", 0, place, None, None, [], at) for place, (topic, at) in enumerate(written)]
    for record in log:
        timeline.add(Part(record.topic, 0), record)
    out = []
    while some := timeline.take(most):
        assert len(some) <= most
        out += some
    assert timeline.size == 0
    assert sorted(record.offset for record in out) == list(range(len(log)))
    for topic in range(4):
        mine = [record.offset for record in out if record.topic == f"t{topic}"]
        assert mine == sorted(mine)


@given(st.lists(st.integers(0, 100)), st.lists(st.integers(0, 100)))
def test_where_each_partition_is_in_order_so_is_the_whole(here: list[int], there: list[int]) -> None:
    timeline = Timeline({"a": 7})
    for topic, moments in (("a", here), ("b", there)):
        for place, at in enumerate(sorted(moments)):
            timeline.add(Part(topic, 0), Record(topic, 0, place, None, None, [], at))
    moments = [record.timestamp - 7 * (record.topic == "a") for record in timeline.take(1000)]
    assert moments == sorted(moments)
    assert len(moments) == len(here) + len(there)
