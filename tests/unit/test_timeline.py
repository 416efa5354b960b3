"""In which order the recorder takes what several partitions bring."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from services.recorder.records import Part, Record, parted
from services.recorder.timeline import FULL, Timeline

PREDICTIONS, FEEDBACK = Part("predictions", 0), Part("feedback", 0)


def record(part: Part, offset: int, at: int, size: int = 1) -> Record:
    return Record(*part, offset, None, b"x" * size, (), at)


def holding(*records: Record) -> Timeline:
    timeline = Timeline()
    for one in records:
        timeline.add(Part(one.topic, one.partition), one)
    return timeline


def test_feedback_waits_for_older_predictions_that_are_still_to_come() -> None:
    timeline = holding(record(PREDICTIONS, 0, at=10), record(FEEDBACK, 0, at=11), record(FEEDBACK, 1, at=30))
    taken = timeline.take(100, timeline.complete_until([PREDICTIONS]))
    assert taken == [record(PREDICTIONS, 0, at=10)]
    timeline.add(PREDICTIONS, record(PREDICTIONS, 1, at=29))
    taken = timeline.take(100, timeline.complete_until([PREDICTIONS]))
    assert [one.timestamp for one in taken] == [11, 29]
    assert [one.timestamp for one in timeline.take(100, timeline.complete_until([]))] == [30]
    assert not timeline


def test_of_a_partition_that_was_never_heard_of_anything_may_come() -> None:
    timeline = holding(record(FEEDBACK, 0, at=11))
    assert timeline.take(100, timeline.complete_until([PREDICTIONS])) == []


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 50)), max_size=60), st.integers(1, 7))
def test_everything_comes_once_in_the_order_of_time_and_partition(came: list[tuple[int, int]], most: int) -> None:
    records = []
    clock: dict[int, int] = {}
    for offset, (number, later) in enumerate(came):
        clock[number] = clock.get(number, 0) + later
        records.append(record(Part("t", number), offset, clock[number]))
    timeline = holding(*records)
    rounds = []
    while taken := timeline.take(most, inf):
        rounds.append(taken)
    flat = [one for some in rounds for one in some]
    assert all([one.offset for one in some] == sorted(one.offset for one in some) for some in parted(flat).values())
    assert sorted(one.offset for one in flat) == list(range(len(came)))
    assert all(len(some) <= most for some in rounds)
    assert [one.timestamp for one in flat] == sorted(one.timestamp for one in records)


def test_a_partition_that_runs_ahead_is_full_until_most_of_it_is_taken() -> None:
    timeline = holding(*(record(FEEDBACK, number, at=number, size=FULL // 8) for number in range(8)))
    assert timeline.full() == {FEEDBACK}
    timeline.take(6, inf)
    assert (timeline.full(), timeline.roomy()) == (set(), set())
    timeline.take(1, inf)
    assert timeline.roomy() == {FEEDBACK}
