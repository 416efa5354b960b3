"""How fast the recorder turns predictions and feedback into examples, how soon they show, and what a long log costs.

Everything runs on this machine: a broker, `python -m services.recorder`, SQLite or Debian's Postgres. Topics are filled
before the recorder starts, and what is measured is what SQL shows: from its first transaction to its last.
"""

from __future__ import annotations

import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from confluent_kafka import Message

from bench.flow import Flow, Place, Recorder, Seen, each, rate
from bench.report import Bar, Figure, Tell, at_least, at_most
from bench.stage import broker, free_port
from bench.traffic import Traffic
from local.postgres import binaries, postgres
from shared.envelope import seal
from shared.kafka import Bus

SHORT = 20_000  # events in a log that is called short
WINDOW = 100_000  # events of one measurement: some twenty transactions
CHUNK = 100_000  # events that are put on the topics at once while the log grows
PER_S = 500  # events of the latency run
TURNS = 3  # a machine drifts: short and long log are measured by turns


def measure(quick: bool, tell: Tell) -> list[Figure]:
    """All figures; `quick` grows the log to a tenth."""
    long, window, seconds = (200_000, WINDOW // 2, 20) if quick else (2_000_000, WINDOW, 60)
    with tempfile.TemporaryDirectory(prefix="learnback-bench-") as name:
        folder = Path(name)
        with broker(folder / "kafka", free_port(2)) as (bus, _):
            figures = _on_postgres(bus, folder, window, tell)
            figures += _latency(_flow(bus, folder, "latency"), seconds, tell)
            figures += _growth(bus, folder, window, long, tell)
    return figures


def _flow(bus: Bus, folder: Path, name: str, url: str | None = None) -> Flow:
    """Topics and a database of their own."""
    own = Bus(bus.servers, f"bench-{name}")
    own.create_topics()
    (folder / name).mkdir()
    return Flow(own, url or f"sqlite:///{folder / name}/learnback.db", folder / name)


def _on_postgres(bus: Bus, folder: Path, events: int, tell: Tell) -> list[Figure]:
    """The rate on Postgres, where Debian's is installed."""
    if binaries() is None:
        tell("no Postgres is installed: left out")
        return []
    with postgres(free_port()) as url:
        flow = _flow(bus, folder, "on-postgres", url)
        tell(f"Postgres: {events:,} events onto the topics")
        flow.fill(Traffic().take(events))
        with flow.recorder() as recorder:
            seen = _drain(recorder, events, tell)
            cpu = recorder.cpu_s / events * 1e6
    return [
        Figure("recorded on Postgres", rate(seen), "events/s", at_least(5_000)),
        Figure("CPU time of the recorder on Postgres", cpu, "µs/event"),
    ]


def _drain(recorder: Recorder, until: int, tell: Tell) -> list[Seen]:
    seen = list(recorder.watch(until))
    tell(f"{seen[-1].events:,} events recorded, {rate(seen):,.0f} a second")
    return seen


def _latency(flow: Flow, seconds: int, tell: Tell) -> list[Figure]:
    """From the broker's acknowledgement to what a reader of SQL sees, at an even pace."""
    acked: dict[tuple[str, int, int], float] = {}

    def note(_error: object, message: Message) -> None:
        acked[message.topic() or "", message.partition() or 0, message.offset() or 0] = time.monotonic()

    tell(f"latency: {PER_S} events a second for {seconds} s")
    events = Traffic().take(PER_S * seconds)
    with flow.recorder() as recorder:
        sender = threading.Thread(target=each, args=(events, PER_S, lambda one: flow.send(one, on_delivery=note)))
        with _sending(sender, flow):
            seen = list(recorder.watch(len(events)))
    waits = sorted(_waits(acked, seen))
    cuts = quantiles(waits, n=100)
    tell(f"{len(waits):,} events: p50 {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms")
    return [
        Figure(f"ack → visible in SQL at {PER_S}/s, p50", cuts[49], "s", at_most(0.5), (waits[0], waits[-1])),
        Figure(f"ack → visible in SQL at {PER_S}/s, p99", cuts[98], "s", at_most(2)),
    ]


@contextmanager
def _sending(sender: threading.Thread, flow: Flow) -> Iterator[None]:
    """A thread that fills in while the block looks on; acknowledgements are taken until the end."""
    done = threading.Event()

    def serve() -> None:
        while not done.is_set():
            flow.producer.poll(0.005)

    server = threading.Thread(target=serve)
    sender.start()
    server.start()
    try:
        yield
    finally:
        sender.join()
        flow.producer.flush()
        done.set()
        server.join()


def _waits(acked: dict[tuple[str, int, int], float], seen: list[Seen]) -> Iterator[float]:
    """Seconds until each event showed: the first look at which its partition's place lay behind it."""
    shown: dict[Place, list[tuple[int, float]]] = {}
    for one in seen:
        for place, offset in one.places.items():
            shown.setdefault(place, []).append((offset, one.at))
    for (topic, partition, offset), at in acked.items():
        yield max(0.0, next(when for place, when in shown[topic, partition] if place > offset) - at)


def _growth(bus: Bus, folder: Path, window: int, long: int, tell: Tell) -> list[Figure]:
    """The rate on SQLite in short logs, and in a long one that the recorder itself has grown, by turns."""
    traffic, flow = Traffic(), _flow(bus, folder, "long")
    with flow.recorder() as recorder:
        while flow.sent < long:
            flow.fill(traffic.take(min(CHUNK, long - flow.sent)))
            _wait(recorder, flow.sent - CHUNK, tell)
        _wait(recorder, long, tell)
    short: list[Drained] = []
    grown: list[Drained] = []
    for turn in range(TURNS):
        new = _flow(bus, folder, f"short-{turn}")
        short.append(_drained(new, Traffic(), window, tell))
        grown.append(_drained(flow, traffic, window, tell))
    before, after = [one.later for one in short], [one.later for one in grown]
    small, large = max(one.memory_mb for one in short), max(one.memory_mb for one in grown)
    naive = {"one row, one transaction, no join": _naive(traffic, flow.folder / "naive.db")}
    return [
        _of("recorded on SQLite", [one.whole for one in short], "events/s", at_least(5_000), **naive),
        _of("CPU time of the recorder on SQLite", [one.cpu_us for one in short], "µs/event"),
        _of(f"rate with {SHORT:,} events stored", before, "events/s"),
        _of(f"rate with {long:,} events stored", after, "events/s"),
        _of("… CPU time of the recorder there", [one.cpu_us for one in grown], "µs/event"),
        Figure("share of the rate that is left", median(after) / median(before), "", at_least(0.85)),
        Figure(f"memory after {SHORT + window:,} events", small, "MB"),
        Figure(f"memory with {long:,} events stored", large, "MB", at_most(small * 1.2)),
    ]


@dataclass(frozen=True)
class Drained:
    """Events a second of one backlog, all of it and from some event on, and what it cost."""

    whole: float
    later: float
    cpu_us: float
    memory_mb: float


def _drained(flow: Flow, traffic: Traffic, window: int, tell: Tell) -> Drained:
    """Fill in a short log and a window, and record them by a new recorder; the first of the two warms it up."""
    stored = flow.sent
    flow.fill(traffic.take(SHORT + window))
    with flow.recorder() as recorder:
        seen = _drain(recorder, flow.sent, tell)
        cpu_us = recorder.cpu_s / (SHORT + window) * 1e6
        return Drained(rate(seen), rate(seen, stored + SHORT), cpu_us, recorder.memory_mb)


def _of(name: str, values: Sequence[float], unit: str, bar: Bar | None = None, **peers: float) -> Figure:
    """The median of several turns."""
    return Figure(name, median(values), unit, bar, (min(values), max(values)), peers)


def _wait(recorder: Recorder, until: int, tell: Tell) -> None:
    """Let the recorder come after, so that the topics are never far ahead."""
    for one in recorder.watch(until):
        last = one
    tell(f"{last.events:,} events stored, memory {recorder.memory_mb:.0f} MB")


def _naive(traffic: Traffic, file: Path) -> float:
    """What is left without any of it: each event's JSON a row, each row a transaction, on the same disk."""
    events = [(event.event_id, seal(event).value) for event in traffic.take(20_000)]
    with sqlite3.connect(file, isolation_level=None) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("CREATE TABLE event (id TEXT PRIMARY KEY, body BLOB)")
        started = time.monotonic()
        for row in events:
            connection.execute("INSERT INTO event VALUES (?, ?)", row)
        return len(events) / (time.monotonic() - started)
