"""The predictor that is measured: a process on a broker of its own, its store, and the news that it hears."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from bench.load import ID, Target
from bench.serving.versions import MODEL, Made
from bench.stage import answers, await_ready, broker, free_port, program
from local.layout import HOST
from shared.artifacts import ArtifactStore
from shared.errors import FatalError
from shared.identity import Keyring, create_secret, read_secret
from shared.kafka import Bus
from shared.topics import PREDICTIONS

DEADLINE_S = 60
LOOK_S = 0.02
BODIES = 500  # texts that are asked in turn


@dataclass(frozen=True)
class Predicting:
    """A running predictor."""

    bus: Bus
    port: int
    key: str

    def target(self, texts: Sequence[str]) -> Target:
        """Questions, each with an id of its own."""
        asked = [json.dumps({"model": MODEL, "input": text, "prediction_id": ID}) for text in texts[:BODIES]]
        return Target(self.port, ("/v1/predict",), asked[0], {"Authorization": f"Bearer {self.key}"}, others=asked[1:])

    def tell(self, made: Made) -> None:
        """Publish that a version is the champion now."""
        with self.bus.publisher() as publisher:
            publisher.publish(made.state())

    def await_champion(self, made: Made) -> None:
        """Wait until a version answers."""
        self._until(lambda: any(one["version"] == made.version for one in self._get("/v1/models")))

    def swaps(self) -> int:
        """How many versions have begun to answer, by its own count."""
        found = re.search(r"^learnback_swap_seconds_count{.*} (\S+)$", self._text("/metrics"), re.MULTILINE)
        return round(float(found[1])) if found else 0

    def stored(self) -> int:
        """Predictions on the topic."""
        consumer = Consumer({"bootstrap.servers": self.bus.servers, "group.id": "bench"})
        try:
            parts = [TopicPartition(self.bus.name(PREDICTIONS), part) for part in range(PREDICTIONS.partitions)]
            return sum(consumer.get_watermark_offsets(part)[1] for part in parts)
        finally:
            consumer.close()

    def _until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not holds():
            if time.monotonic() > deadline:
                raise FatalError(f"After {DEADLINE_S} s the version does not answer.")
            time.sleep(LOOK_S)

    def _get(self, path: str) -> Any:
        return json.loads(self._text(path))

    def _text(self, path: str) -> str:
        request = urllib.request.Request(
            f"http://{HOST}:{self.port}{path}", headers={"Authorization": f"Bearer {self.key}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return str(answer.read().decode())


@contextlib.contextmanager
def predictor(folder: Path, store: ArtifactStore) -> Iterator[Predicting]:
    """A broker, and a predictor with its defaults: on all cores."""
    with broker(folder / "kafka", free_port(2)) as (bus, _):
        key, variables = app(folder, store, bus)
        port, log = free_port(), folder / "predictor.log"
        variables["LEARNBACK_PREDICTOR_PORT"] = str(port)
        with program([sys.executable, "-m", "services.predictor"], log, variables) as process:
            await_ready(process, log, answers(port, "/readyz"))
            yield Predicting(bus, port, key)


def app(folder: Path, store: ArtifactStore, bus: Bus) -> tuple[str, dict[str, str]]:
    """An app's key, and what tells predictors of it, the bus and the store."""
    create_secret(folder / "secret")
    key = Keyring(folder / "keys.json", read_secret(folder / "secret")).create("shop")
    return key, {
        "LEARNBACK_KAFKA_BOOTSTRAP_SERVERS": bus.servers,
        "LEARNBACK_TOPIC_PREFIX": bus.prefix,
        "LEARNBACK_ARTIFACTS_URL": f"file://{store.root}",
        "LEARNBACK_POLICY_FILE": str(folder / "learnback.toml"),
        "LEARNBACK_SECRET_FILE": str(folder / "secret"),
        "LEARNBACK_KEYS_FILE": str(folder / "keys.json"),
    }
