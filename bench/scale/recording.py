"""Recorders: one backlog recorded by one, two and four; and by some that come and go under load.

At each look at SQL, in one snapshot of it, as many events must be stored, and be stored by the ledger, as were read.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlalchemy import func, select

from bench.flow import Flow, Recorder, Seen, each, rate
from bench.report import Figure, Tell, at_least, at_most
from bench.scale.ledger import Looks, ids, made, opened
from bench.scale.replicas import cpu_seconds, replicas
from bench.stage import broker, free_port
from bench.traffic import Traffic
from local.postgres import postgres
from services.recorder.digest import digest
from shared.kafka import Bus

COUNTS = (1, 2, 4)
PER_S = 300
SERVICE = "recorder"


def figures(folder: Path, quick: bool, tell: Tell) -> list[Figure]:
    """Throughput and identity."""
    events, seconds = (30_000, 32) if quick else (200_000, 180)
    with postgres(free_port()) as server, broker(folder / "kafka", free_port(2)) as (bus, _):
        return _backlog(Flow(bus, server, folder), events, tell) + _storm(bus, server, folder, seconds, tell)


def _backlog(flow: Flow, events: int, tell: Tell) -> list[Figure]:
    flow.fill(Traffic().take(events))
    drained = [_drained(flow, count, tell) for count in COUNTS]
    found = [
        Figure(f"recorded by {count}", one.per_s, "events/s", None, None)
        for count, one in zip(COUNTS, drained, strict=True)
    ]
    alone = drained[0]
    return [
        *found,
        *(Figure(f"CPU time, {name}", each_s * 1e6, "s/million events") for name, each_s in alone.cpu.items()),
        Figure("disk of Kafka, one copy", _on_log(flow) / events, "bytes/event"),
        Figure("disk of Postgres, indexes and all", alone.disk / events, "bytes/event"),
        Figure("digests of what they recorded", len({one.digest for one in drained}), "digests", at_most(1)),
    ]


@dataclass(frozen=True)
class Drained:
    """What one, two or four made of the backlog; CPU seconds are of one event, by program."""

    per_s: float
    cpu: dict[str, float]
    disk: int
    digest: str


def _drained(flow: Flow, count: int, tell: Tell) -> Drained:
    """Record the whole backlog into a database of its own by so many, started together."""
    url = made(flow.database_url, f"by_{count}")
    own = Flow(flow.bus, url, flow.folder / f"by-{count}")
    with opened(url) as engine, replicas(SERVICE, own.folder, own.variables, count) as group:
        recorder = Recorder(psutil.Process(group.running[0].process.pid), engine, flow.topics)
        seen: list[Seen] = []
        for one in recorder.watch(flow.sent):
            if one.events and not (seen and seen[-1].events):  # starting is not recording
                begun, before = one.events, cpu_seconds()
            seen.append(one)
        per_s, spent = rate(seen), cpu_seconds() - before
        cpu = {name: seconds / (flow.sent - begun) for name, seconds in spent.items()}
        with engine.connect() as connection:
            disk = connection.execute(select(func.pg_database_size(f"by_{count}"))).scalar_one()
        tell(f"{flow.sent:,} events by {count}: {per_s:,.0f} a second")
        return Drained(per_s, cpu, disk, digest(engine))


def _on_log(flow: Flow) -> int:
    """Bytes of the segments of predictions and feedback."""
    folders = [one for one in (flow.folder / "kafka").rglob("*") if one.name.rpartition("-")[0] in flow.topics]
    return sum(file.stat().st_size for folder in folders for file in folder.glob("*.log"))


def _storm(bus: Bus, server: str, folder: Path, seconds: int, tell: Tell) -> list[Figure]:
    """An even load, while recorders join, are ended and are killed; then the same log into an empty database by one."""
    own = Bus(bus.servers, "bench-storm")
    own.create_topics()
    flow = Flow(own, made(server, "storm"), folder / "storm", instance="bench")
    events = Traffic(seed=2).take(PER_S * seconds)
    sender = threading.Thread(target=each, args=(events, PER_S, flow.send), daemon=True)
    with opened(flow.database_url) as engine, replicas(SERVICE, flow.folder, flow.variables, 2) as group:
        for one in group.running:
            one.await_ready()
        looks = Looks(engine, flow.topics)
        sender.start()
        changes = group.come_and_go(lambda: looks.look().read is not None and not sender.is_alive())
        flow.producer.flush()
        begin = time.monotonic()
        looks.wait(flow.sent)
        late = time.monotonic() - begin
        stored = ids(engine)
        whole = digest(engine)
    tell(f"recorders came and went ({dict(changes)}) while {flow.sent:,} events were sent")
    again = _replayed(flow, made(server, "again"), folder / "again")
    sent = {event.event_id for event in events}
    return [
        Figure("recorders that joined, ended or were killed", sum(changes.values()), "changes", at_least(6)),
        Figure("… events lost", len(sent - set(stored)), "events", at_most(0)),
        Figure("… events stored twice", len(stored) - len(set(stored)), "events", at_most(0)),
        Figure(f"… off the ledger's identity, worst of {looks.count} looks", looks.worst, "events", at_most(0)),
        Figure("… digests, with that of a replay by one", len({whole, again}), "digests", at_most(1)),
        Figure("… all in SQL after the last was sent", late, "s"),
    ]


def _replayed(flow: Flow, url: str, folder: Path) -> str:
    own = Flow(flow.bus, url, folder)
    with opened(url) as engine, replicas(SERVICE, folder, own.variables, 1):
        Looks(engine, flow.topics).wait(flow.sent)
        return digest(engine)
