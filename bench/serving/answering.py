"""How many texts a second the predictor answers, and how fast, beside a pipeline that is called one by one."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.load import Load, Target, flood
from bench.report import Figure, Tell, at_least, at_most
from bench.serving import peer
from bench.serving.place import BODIES, predictor
from bench.serving.plan import Plan
from bench.serving.versions import make
from bench.stage import answers, await_ready, free_port, program
from shared.artifacts import ArtifactStore

CONNECTIONS = 32  # each waits for its answer before it asks again
PEER_CONNECTIONS = (1, 8)  # the better of the two counts
PEER = "transformers pipeline behind FastAPI"


def figures(folder: Path, plan: Plan, texts: Sequence[str], tell: Tell) -> list[Figure]:
    """Throughput and latency."""
    store = ArtifactStore(f"file://{folder}/artifacts")
    [champion] = make(store, 1)
    tell("starting Kafka and the predictor")
    with predictor(folder, store) as own:
        own.tell(champion)
        own.await_champion(champion)
        target = own.target(texts)
        warm = flood(target, CONNECTIONS, plan.warm_s)
        loads = [_told(flood(target, CONNECTIONS, plan.flood_s), "predictor", tell) for _ in range(plan.rounds)]
        missing = max(0, warm.done + sum(one.done for one in loads) - own.stored())
    other = _peer(folder / "peer", plan, texts, tell)
    rates = [one.per_s for one in loads]
    rate, slow = statistics.median(rates), [one.p99_ms for one in loads]
    return [
        Figure("texts over HTTP, each durable", rate, "texts/s", at_least(500), _spread(rates), {PEER: other.per_s}),
        Figure("… p99", statistics.median(slow), "ms", at_most(120), _spread(slow), {PEER: other.p99_ms}),
        Figure("… p50", statistics.median(one.p50_ms for one in loads), "ms", None, None, {PEER: other.p50_ms}),
        Figure("… times the peer's throughput", rate / other.per_s, "×", at_least(3)),
        Figure("… failed", sum(one.failed for one in loads), "requests", at_most(0)),
        Figure("… answered and not on the topic", missing, "predictions", at_most(0)),
    ]


def _peer(folder: Path, plan: Plan, texts: Sequence[str], tell: Tell) -> Load:
    folder.mkdir(parents=True)
    peer.save(folder / "model")
    port, log = free_port(), folder / "log"
    with program([sys.executable, "-m", "bench.serving.peer", str(folder / "model"), str(port)], log) as process:
        await_ready(process, log, answers(port, "/readyz"))
        bodies = [json.dumps({"text": text}) for text in texts[:BODIES]]
        target = Target(port, ("/predict",), bodies[0], others=bodies[1:])
        flood(target, 1, plan.warm_s)
        loads = [_told(flood(target, number, plan.flood_s), PEER, tell) for number in PEER_CONNECTIONS]
    return max(loads, key=lambda one: one.per_s)


def _told(load: Load, who: str, tell: Tell) -> Load:
    tell(f"{who}: {load.per_s:.0f} texts/s, p99 {load.p99_ms:.0f} ms, {load.failed} failed")
    return load


def _spread(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)
