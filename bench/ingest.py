"""Ingestion: how fast events become durable, what a broker that is away costs, and what is left after kill -9.

The load generator, the broker and the collector share this machine. Every event has an id of its own, and a 202 counts
only because what it promised is looked for afterwards, on the topic. Peers get the same client on the same machine,
one after the other, the better of few and many connections each.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import statistics
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import peers
from bench.collecting import collector, stored
from bench.load import ID, Load, Target, flood, pace
from bench.report import Figure, Tell, at_least, at_most
from bench.stage import broker, free_port
from local.layout import HOST
from shared.errors import FatalError, UnavailableError
from shared.kafka import Bus

FEW, MANY = 4, 64  # connections
LIST_CONNECTIONS = 8
PACE = 1_000
ACKED = 100
PEERS: tuple[type[peers.Phoenix] | type[peers.Mlflow], ...] = (peers.Phoenix, peers.Mlflow)


@dataclass(frozen=True)
class Plan:
    """How long and how often."""

    warm_s: float
    flood_s: float
    rounds: int
    pace_s: float
    peer_s: float
    kills: int


WHOLE = Plan(warm_s=5, flood_s=12, rounds=3, pace_s=20, peer_s=10, kills=10)
QUICK = Plan(warm_s=3, flood_s=5, rounds=1, pace_s=8, peer_s=4, kills=3)


def measure(quick: bool, tell: Tell) -> list[Figure]:
    """All figures of ingestion."""
    plan = QUICK if quick else WHOLE
    with TemporaryDirectory(prefix="learnback-bench-") as name:
        folder = Path(name)
        tell("starting Kafka")
        with broker(folder / "kafka", free_port(2)) as (bus, _):
            figures, best = _speed(plan, folder, bus, tell)
            kept = [_kept_by_collector(folder, bus, tell) for _ in range(plan.kills)]
        figures += _outage(plan, folder, tell)
        others = {made.name: result for made, result in _others(plan, folder, tell)}
    return [*figures, *_compared(best, kept, others)]


def _speed(plan: Plan, folder: Path, bus: Bus, tell: Tell) -> tuple[list[Figure], float]:
    with collector(folder / "collector", bus) as own:
        own.await_connected()
        singles, lists = own.target(), own.target(items=100)
        flood(singles, MANY, plan.warm_s)
        rates = [_tell(tell, "single events", singles, MANY, plan.flood_s).per_s for _ in range(plan.rounds)]
        tell(f"single events at {PACE}/s")
        steady = pace(singles, PACE, MANY, plan.pace_s)
        flood(lists, LIST_CONNECTIONS, plan.warm_s)
        many = [
            100 * _tell(tell, "lists of 100", lists, LIST_CONNECTIONS, plan.flood_s).per_s for _ in range(plan.rounds)
        ]
        spooled, accepted = own.outcome("spooled"), own.outcome("accepted")
        tell("counting what is on the topic")
        missing = max(0, accepted + spooled - len(stored(bus)))  # more: what was under way when wrk stopped
    best = statistics.median(rates)
    return [
        Figure("single events, 202 after the broker's ack", best, "events/s", at_least(4_000), _spread(rates)),
        Figure(f"… p99 at {PACE:,}/s from the intended moment", steady.p99_ms, "ms", at_most(30)),
        Figure("… p50", steady.p50_ms, "ms"),
        Figure("lists of 100", statistics.median(many), "events/s", at_least(40_000), _spread(many)),
        Figure("… of all these, acknowledged from the spool", spooled, "events"),
        Figure("… of all these, not on the topic", missing, "events", at_most(0)),
    ], best


def _outage(plan: Plan, folder: Path, tell: Tell) -> list[Figure]:
    """The broker dies; the spool takes the load; the broker comes back."""
    port = free_port(2)
    with contextlib.ExitStack() as stack:
        with broker(folder / "away", port) as (bus, process):
            own = stack.enter_context(collector(folder / "spooling", bus))
            own.await_connected()
            flood(own.target(), MANY, plan.warm_s)
            process.kill()
            process.wait()
        took = _tell(tell, "single events, the broker killed", own.target(), MANY, plan.flood_s)
        accepted = own.outcome("accepted") + own.outcome("spooled")
        tell("the broker comes back; draining")
        with broker(folder / "away", port) as (bus, _):
            own.await_connected()
            missing = max(0, accepted - len(stored(bus)))
    return [
        Figure("spool, fsynced, the broker killed", took.per_s, "events/s", at_least(2_000)),
        Figure("… p99", took.p99_ms, "ms"),
        Figure("… refused", took.failed, "requests", at_most(0)),
        Figure("… dropped, after draining", missing, "events", at_most(0)),
    ]


def _kept_by_collector(folder: Path, bus: Bus, tell: Tell) -> int:
    """Events on the topic, of those acknowledged before a kill -9."""
    own_bus = Bus(bus.servers, f"kill-{uuid.uuid4().hex[:8]}")
    own_bus.create_topics()
    with collector(folder / own_bus.prefix, own_bus) as own:
        own.await_connected()
        _acknowledge(own.target())
        own.kill()
    with collector(folder / own_bus.prefix, own_bus) as again:
        again.await_connected()
        kept = len(stored(own_bus))
    tell(f"kill -9 after {ACKED} acknowledged: {kept} stored; ready again in {again.ready_s:.1f} s")
    return kept


@dataclass(frozen=True)
class Other:
    """What a peer reached."""

    per_s: float
    kept: int


def _others(plan: Plan, folder: Path, tell: Tell) -> list[tuple[peers.Peer, Other | None]]:
    return [(peer, result) for make in PEERS for peer, result in [_other(plan, folder, make, tell)]]


def _other(plan: Plan, folder: Path, make: Callable[[Path], peers.Peer], tell: Tell) -> tuple[peers.Peer, Other | None]:
    peer = make(Path())
    try:
        peer = make(peers.environment(peer.package, tell) / "bin")
        rate = _rate_of(plan, folder / f"{peer.name}-rate", peer, tell)
        return peer, Other(rate, _kept_by_peer(folder / f"{peer.name}-kill", peer, tell))
    except (UnavailableError, FatalError, OSError) as error:
        tell(f"{peer.name} did not run: {error}")
        return peer, None


def _rate_of(plan: Plan, folder: Path, peer: peers.Peer, tell: Tell) -> float:
    with peers.running(peer, folder, port := free_port()):
        target = peer.prepare(folder, port)
        flood(target, FEW, plan.warm_s)
        loads = [_tell(tell, f"{peer.name}, {count} connections", target, count, plan.peer_s) for count in (FEW, MANY)]
        return max(load.per_s for load in loads)


def _kept_by_peer(folder: Path, peer: peers.Peer, tell: Tell) -> int:
    with peers.running(peer, folder, port := free_port()) as process:
        target = peer.prepare(folder, port)
        _acknowledge(target)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    with peers.running(peer, folder, port):
        kept = peer.count(port, target)
    tell(f"{peer.name}: kill -9 after {ACKED} acknowledged: {kept} stored")
    return kept


def _acknowledge(target: Target) -> None:
    """One connection, one event after the other, as fast as they are acknowledged."""
    connection = http.client.HTTPConnection(HOST, target.port, timeout=60)
    prefix = uuid.uuid4().hex[:12]
    with contextlib.closing(connection):
        for number in range(ACKED):
            body = target.body.replace(ID, f"{prefix}-{number}")
            path = target.paths[number % len(target.paths)]
            connection.request("POST", path, body, {"Content-Type": "application/json", **target.headers})
            answer = connection.getresponse()
            answer.read()
            if answer.status >= http.client.BAD_REQUEST:
                raise FatalError(f"{path} answered {answer.status} before anything was killed.")


def _tell(tell: Tell, what: str, target: Target, connections: int, seconds: float) -> Load:
    load = flood(target, connections, seconds)
    told = f"{load.per_s * target.items:,.0f}/s, p99 {load.p99_ms:.0f} ms"
    tell(f"{what}: {told}" + (f", {load.failed} failed" if load.failed else ""))
    return load


def _compared(best: float, kept: Sequence[int], others: dict[str, Other | None]) -> list[Figure]:
    figures = []
    for name, factor in (("Phoenix", 15), ("MLflow", 25)):
        other = others[name]
        if other is not None:
            title = f"single events against {name}{' (sync=true)' if name == 'Phoenix' else ''}"
            figures.append(Figure(title, best / other.per_s, "×", at_least(factor), peers={name: other.per_s}))
        else:
            figures.append(Figure(f"single events against {name}", 0, "× (did not run)", peers={name: None}))
    told = {name: None if other is None else float(other.kept) for name, other in others.items()}
    title = f"stored of {ACKED} acknowledged, kill -9, worst of {len(kept)}"
    return [*figures, Figure(title, min(kept), "events", at_least(ACKED), _spread(kept), told)]


def _spread(values: Sequence[float]) -> tuple[float, float] | None:
    return (min(values), max(values)) if len(values) > 1 else None
