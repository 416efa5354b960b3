"""The collector that is measured: a process on a broker of its own, and what is on its topic."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from bench.load import ID, Target
from bench.stage import answers, await_ready, free_port, program
from local.layout import HOST
from shared.errors import FatalError
from shared.identity import Keyring, create_secret, read_secret
from shared.kafka import Bus
from shared.topics import FEEDBACK

CORRECTION = json.dumps(
    {"event_id": ID, "prediction_id": f"p-{ID}", "kind": "correction", "value": "track_order", "user": "user-17"}
)
DEADLINE_S = 120


@dataclass(frozen=True)
class Collecting:
    """A running collector."""

    process: subprocess.Popen[bytes]
    port: int
    key: str
    ready_s: float

    def target(self, items: int = 1) -> Target:
        """Corrections, one a request or a list of them."""
        return Target(self.port, ("/v1/feedback",), CORRECTION, {"Authorization": f"Bearer {self.key}"}, items)

    def await_connected(self) -> None:
        """Until the spool is empty and events go straight to the broker.

        Raises:
            FatalError: they do not in time.
        """
        deadline = time.monotonic() + DEADLINE_S
        while self._get("/readyz") != "ready\n":
            if time.monotonic() > deadline:
                raise FatalError("The collector did not come back to the broker.")
            time.sleep(0.05)

    def outcome(self, name: str) -> int:
        """How many events had an outcome, by its own count."""
        pattern = rf'^learnback_ingest_outcomes_total{{outcome="{name}",.*}} (\S+)$'
        return round(sum(float(value) for value in re.findall(pattern, self._get("/metrics"), re.MULTILINE)))

    def post(self, event_id: str) -> None:
        """One correction; returns when it is acknowledged.

        Raises:
            OSError: it is not.
        """
        request = urllib.request.Request(  # a port of ours
            f"http://{HOST}:{self.port}/v1/feedback",
            CORRECTION.replace(ID, event_id).encode(),
            {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30):  # noqa: S310
            pass

    def kill(self) -> None:
        """Kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def _get(self, path: str) -> str:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{HOST}:{self.port}{path}") as answer:
            return str(answer.read().decode())
        return ""


@contextlib.contextmanager
def collector(folder: Path, bus: Bus) -> Iterator[Collecting]:
    """A collector with a key of its own; a second one in the same folder finds the first one's spool."""
    folder.mkdir(parents=True, exist_ok=True)
    create_secret(folder / "secret")
    key = Keyring(folder / "keys.json", read_secret(folder / "secret")).create("shop")
    port, log = free_port(), folder / "collector.log"
    variables = {
        "LEARNBACK_KAFKA_BOOTSTRAP_SERVERS": bus.servers,
        "LEARNBACK_TOPIC_PREFIX": bus.prefix,
        "LEARNBACK_SECRET_FILE": str(folder / "secret"),
        "LEARNBACK_KEYS_FILE": str(folder / "keys.json"),
        "LEARNBACK_COLLECTOR_PORT": str(port),
        "LEARNBACK_COLLECTOR_SPOOL_FILE": str(folder / "spool.db"),
    }
    with program([sys.executable, "-m", "services.collector"], log, variables) as process:
        ready_s = await_ready(process, log, answers(port, "/readyz"))
        yield Collecting(process, port, key, ready_s)


def stored(bus: Bus) -> set[str]:
    """The ids of all events on the feedback topic, without the app's part."""
    consumer = Consumer({"bootstrap.servers": bus.servers, "group.id": "bench", "enable.auto.commit": False})
    try:
        parts = [TopicPartition(bus.name(FEEDBACK), part) for part in range(FEEDBACK.partitions)]
        ends = {part.partition: consumer.get_watermark_offsets(part)[1] for part in parts}
        consumer.assign([TopicPartition(part.topic, part.partition, OFFSET_BEGINNING) for part in parts])
        found: set[str] = set()
        left = {part for part, end in ends.items() if end}
        while left:
            messages: list[Any] = consumer.consume(10_000, 1.0)
            for message in messages:
                found.add(dict(message.headers())["ce_id"].decode().partition(".")[2])
                if message.offset() + 1 >= ends[message.partition()]:
                    left.discard(message.partition())
        return found
    finally:
        consumer.close()
