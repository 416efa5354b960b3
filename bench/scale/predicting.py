"""Predictors behind one address: requests a second by one and two, and what a client notices when one is killed.

Each replica computes on one core. The client is the SDK; its retry is what its documentation asks for: the same
question again, under the same `prediction_id`.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from learnback import Client, UnavailableError

from bench.load import flood
from bench.report import Figure, Tell, at_least, at_most
from bench.scale.replicas import Replicas, cpu_seconds, replicas
from bench.serving.place import Predicting, app
from bench.serving.plan import texts
from bench.serving.versions import MODEL, make
from bench.stage import await_ready, broker, free_port, is_open, program
from local.layout import HOST
from shared.artifacts import ArtifactStore
from shared.ids import new_id

CONNECTIONS = 32
CLIENTS = 8
TRIES, PAUSE_S = 5, 0.2
SERVICE = "predictor"


def figures(folder: Path, quick: bool, tell: Tell) -> list[Figure]:
    """Throughput, and requests that failed."""
    seconds, asked = 8 if quick else 30, texts(None)
    store = ArtifactStore(f"file://{folder}/artifacts")
    [champion] = make(store, 1)
    with broker(folder / "kafka", free_port(2)) as (bus, _):
        key, variables = app(folder, store, bus)
        variables["LEARNBACK_PREDICTOR_THREADS"] = "1"
        place = Predicting(bus, 0, key)
        place.tell(champion)
        with replicas(SERVICE, folder, variables, 2) as group:
            for one in group.running:
                one.await_ready()
                replace(place, port=one.port).await_champion(champion)
            found = [one for count in (1, 2) for one in _flooded(group, place, count, asked, seconds, tell)]
            return found + _killed(group, place, asked, seconds, tell)


def _flooded(
    group: Replicas, place: Predicting, count: int, asked: Sequence[str], seconds: int, tell: Tell
) -> list[Figure]:
    """As many requests as so many replicas take."""
    with address(group, count) as port:
        target = replace(place, port=port).target(asked)
        flood(target, CONNECTIONS, 2)
        before = cpu_seconds()
        load = flood(target, CONNECTIONS, seconds)
        cpu = cpu_seconds() - before
    tell(f"{load.per_s:.0f} requests/s by {count}, {load.failed} failed")
    costs = [Figure(f"… CPU time, {name}", s / load.done * 1e3, "s/thousand predictions") for name, s in cpu.items()]
    return [
        Figure(f"predictions by {count}", load.per_s, "requests/s"),
        Figure("… p99", load.p99_ms, "ms"),
        Figure("… failed", load.failed, "requests", at_most(0)),
        *(costs if count == 1 else ()),
    ]


def _killed(group: Replicas, place: Predicting, asked: Sequence[str], seconds: int, tell: Tell) -> list[Figure]:
    """Users who ask one question after the other, while one of two replicas is killed."""
    users, over = Users(), threading.Event()
    before = place.stored()
    with address(group, 2) as port, client(place.key, port) as asking:
        threads = [threading.Thread(target=users.ask, args=(asking, asked, over)) for _ in range(CLIENTS)]
        for one in threads:
            one.start()
        time.sleep(seconds / 2)
        victim = group.running[0]
        os.killpg(victim.process.pid, signal.SIGKILL)  # with the process that serves, which is a fork
        group.leave(victim, signal.SIGKILL)
        time.sleep(seconds / 2)
        over.set()
        for one in threads:
            one.join()
    tell(f"one of two killed: of {users.asked} requests {users.failed} failed at first, {users.lost} for good")
    return [
        Figure("one of two killed: requests", users.asked, "requests", at_least(100)),
        Figure("… failed without a retry", users.failed, "requests"),
        Figure("… failed with the client's retry", users.lost, "requests", at_most(0)),
        Figure("… slowest answer", users.slowest_s, "s"),
        Figure(
            "… answered and not on the topic",
            max(0, users.asked - users.lost - (place.stored() - before)),
            "predictions",
            at_most(0),
        ),
    ]


@dataclass
class Users:
    """What became of the requests of all of them."""

    asked: int = 0
    failed: int = 0
    lost: int = 0
    slowest_s: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, client: Client, texts: Sequence[str], over: threading.Event) -> None:
        """Ask one question after the other until it is over."""
        for text in itertools.cycle(texts):
            if over.is_set():
                return
            begin, tries = time.monotonic(), _tries(client, text)
            with self.lock:
                self.asked += 1
                self.failed += tries > 1
                self.lost += tries > TRIES
                self.slowest_s = max(self.slowest_s, time.monotonic() - begin)


def _tries(client: Client, text: str) -> int:
    """With which try a question was answered; one more than there are when with none."""
    prediction_id = new_id()
    for number in range(1, TRIES + 1):
        try:
            client.predict(MODEL, text, prediction_id=prediction_id)
            return number
        except UnavailableError:
            time.sleep(PAUSE_S * number)
    return TRIES + 1


@contextmanager
def client(key: str, port: int) -> Iterator[Client]:
    """The SDK's client. It sends no events here, so that the collector's address is not used."""
    url = f"http://{HOST}:{port}"
    with Client(url, key, predictor_url=url) as one:
        yield one


@contextmanager
def address(group: Replicas, count: int) -> Iterator[int]:
    """The port of one address for the first so many."""
    port, log = free_port(), group.folder / "address.log"
    command = [
        sys.executable,
        "-m",
        "bench.scale.address",
        str(port),
        *(str(one.port) for one in group.running[:count]),
    ]
    with program(command, log) as process:
        await_ready(process, log, is_open(port))
        yield port
