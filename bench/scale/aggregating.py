"""Aggregators: one backlog counted by one, two and four; and by some that come and go under load.

How far they are is what their group has committed, which they do when all that a record caused is durable. What they
counted is read from their topic: each piece of feedback here judges one prediction of one app, once.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition

from bench.flow import STUCK_S, Flow, each
from bench.report import Figure, Tell, at_least, at_most
from bench.scale.replicas import cpu_seconds, replicas
from bench.stage import broker, free_port
from bench.traffic import Traffic
from schemas.events import ErrorSliceUpdated, Event
from services.aggregator.topics import APP, OUTCOMES
from shared.envelope import unseal
from shared.errors import FatalError
from shared.kafka import Bus
from shared.topics import ERROR_SLICES, FEEDBACK, PREDICTIONS

COUNTS = (1, 2, 4)
PER_S = 300
LOOK_S, ANSWER_S = 0.1, 5.0
STILL_S, SETTLE_S = 2.0, 20.0  # without news: as many as expected, or another number
SLICE = "app=shop"  # in which all of the traffic is
POLICY = "[defaults.trigger]\nbucket_seconds = 86400\n"  # few buckets, so that none is summed up with older ones


def figures(folder: Path, quick: bool, tell: Tell) -> list[Figure]:
    """Throughput and identity."""
    events, seconds = (16_000, 32) if quick else (100_000, 180)
    with broker(folder / "kafka", free_port(2)) as (bus, _):
        return _backlogs(bus, folder, events, tell) + _storm(bus, folder, seconds, tell)


def _backlogs(bus: Bus, folder: Path, events: int, tell: Tell) -> list[Figure]:
    found, wrong = [], 0
    for count in COUNTS:
        flow = _flow(bus, folder, f"by-{count}")
        flow.fill(Traffic().take(events))
        with replicas(APP, flow.folder, flow.variables, count):
            watched = _watch(flow)
            first, before = next(watched), cpu_seconds()  # starting is not counting
            seen = [first, *watched]
            per_s = _rate(seen)
            if count == 1:
                spent = cpu_seconds() - before
                cpu = {name: seconds / (seen[-1][1] - first[1]) for name, seconds in spent.items()}
            wrong += abs(_judged(flow, events // 2) - events // 2)
        tell(f"{events:,} events by {count}: {per_s:,.0f} a second")
        found.append(Figure(f"counted by {count}", per_s, "events/s"))
    return [
        *found,
        *(Figure(f"CPU time, {name}", each_s * 1e6, "s/million events") for name, each_s in cpu.items()),
        Figure("judged predictions, more or fewer than there are, all three", wrong, "predictions", at_most(0)),
    ]


def _storm(bus: Bus, folder: Path, seconds: int, tell: Tell) -> list[Figure]:
    events = Traffic(seed=2).take(PER_S * seconds)
    seen = storm(_flow(bus, folder, "storm"), events, PER_S)
    tell(f"aggregators came and went ({dict(seen.changes)}) while {len(events):,} events were sent")
    missing = len(events) // 2 - seen.judged
    return [
        Figure("aggregators that joined, ended or were killed", sum(seen.changes.values()), "changes", at_least(6)),
        Figure("… feedback that was not counted", max(0, missing), "events", at_most(0)),
        Figure("… feedback that was counted twice", max(0, -missing), "events", at_most(0)),
        Figure("… all committed after the last was sent", seen.late_s, "s"),
    ]


@dataclass(frozen=True)
class Storm:
    """Changes of the group, predictions that were judged, and how long after the last event all was committed."""

    changes: Counter[str]
    judged: int
    late_s: float


def storm(flow: Flow, events: Sequence[Event], per_s: float) -> Storm:
    """An even load of predictions and feedback on them, while aggregators join, are ended and are killed."""
    sender = threading.Thread(target=each, args=(events, per_s, flow.send), daemon=True)
    with replicas(APP, flow.folder, flow.variables, 2) as group:
        for one in group.running:
            one.await_ready()
        sender.start()
        changes = group.come_and_go(lambda: not sender.is_alive())
        flow.producer.flush()
        begin = time.monotonic()
        for _ in _watch(flow):
            pass
        late_s = time.monotonic() - begin
        return Storm(changes, _judged(flow, len(events) // 2), late_s)


def flow_on(bus: Bus, folder: Path) -> Flow:
    """What fills a bus for aggregators."""
    bus.create_topics((OUTCOMES,))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "learnback.toml").write_text(POLICY, "utf-8")
    return Flow(bus, f"sqlite:///{folder}/learnback.db", folder)


def _flow(bus: Bus, folder: Path, name: str) -> Flow:
    """Topics of their own, and so a group of its own."""
    return flow_on(Bus(bus.servers, f"bench-{name}"), folder / name)


def _watch(flow: Flow) -> Iterator[tuple[float, int]]:
    """When the group had committed how many events, until all partitions of predictions and feedback are at their end.

    Raises:
        FatalError: it stood still for a long time.
    """
    asker = {"bootstrap.servers": flow.bus.servers, "group.id": flow.bus.group(APP), "enable.auto.commit": False}
    with closing(Consumer(asker)) as consumer:  # which joins nothing; it asks for its group's places
        topics = (PREDICTIONS, FEEDBACK)
        parts = [TopicPartition(flow.bus.name(one), part) for one in topics for part in range(one.partitions)]
        end, last, moved = sum(consumer.get_watermark_offsets(part)[1] for part in parts), 0, time.monotonic()
        while last < end:
            with suppress(KafkaException):  # its coordinator is not there yet, or is busy
                done = sum(max(0, part.offset) for part in consumer.committed(parts, ANSWER_S))
                if done > last:
                    last, moved = done, time.monotonic()
                    yield moved, done
            if time.monotonic() - moved > STUCK_S:
                raise FatalError(f"The aggregators stand still at {last} of {end} events.")
            time.sleep(LOOK_S)


def _rate(seen: list[tuple[float, int]]) -> float:
    """Events a second from the first commit to the last.

    Raises:
        FatalError: there were not two commits to measure between.
    """
    if len(seen) < 2:
        raise FatalError("The aggregators were done before two of their commits could be told apart: fill in more.")
    return (seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0])


def _judged(flow: Flow, expected: int) -> int:
    """How many predictions were judged by what the aggregators published; facts may be on their way for a moment."""
    newest: dict[object, int] = {}
    last = time.monotonic()
    with flow.bus.follower(ERROR_SLICES) as follower:
        while time.monotonic() - last < (STILL_S if sum(newest.values()) == expected else SETTLE_S):
            for record in follower.poll(200):
                event = unseal(record.value, record.headers, ERROR_SLICES)
                if isinstance(event, ErrorSliceUpdated) and event.slice == SLICE:
                    newest[event.bucket], last = event.judged, time.monotonic()
    return sum(newest.values())
