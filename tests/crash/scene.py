"""Where services die: each is a process as its users run it, killed by itself at a named place, once."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from shared.kafka import Bus
from tests.conftest import free_port
from tests.weights import QUICK

ROOT = Path(__file__).parents[2]
PLACE = re.compile(r'crash_point\(\s*"([a-z_]+\.[a-z_]+)"')
DEADLINE_S = 60
ENOUGH = 5  # usable examples that make the aggregator ask for training here


def points() -> list[str]:
    """Every place where the product can be killed, as its code names them."""
    files = [path for folder in ("services", "shared") for path in sorted((ROOT / folder).rglob("*.py"))]
    return sorted({name for path in files for name in PLACE.findall(path.read_text("utf-8"))})


def until(holds: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Wait for something to come true."""
    deadline = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < deadline, f"Waited {deadline_s:g} s for this: {what}."
        time.sleep(0.05)


@dataclass
class Scene:
    """One story's topics and folder; services come and go in it and find what the one before left."""

    bus: Bus
    folder: Path
    ports: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rules = "\n".join(f"{name} = {value}" for name, value in QUICK if name != "step_sizes")
        trigger = f"[defaults.trigger]\nmin_examples = {ENOUGH}\nbucket_seconds = 3600\n"
        (self.folder / "learnback.toml").write_text(f"[defaults.training]\n{rules}\n{trigger}")

    @property
    def database_url(self) -> str:
        """The recorder's database."""
        return f"sqlite:///{self.folder}/learnback.db"

    def url(self, service: str) -> str:
        """Where a service answers."""
        return f"http://127.0.0.1:{self.ports.setdefault(service, free_port())}"

    def answers(self, service: str, path: str = "/readyz") -> bool:
        """Whether it says 200, and not that it works around something."""
        with contextlib.suppress(OSError), urllib.request.urlopen(self.url(service) + path, timeout=2) as answer:
            return bool(answer.status == 200 and answer.read() != b"degraded\n")
        return False

    @contextmanager
    def running(self, service: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
        """A service until the block ends. A setting that is empty is left out."""
        told = {**self._environment(service), **settings}
        environment = {**os.environ, **{name: value for name, value in told.items() if value}}
        with (
            (self.folder / f"{service}.log").open("ab") as log,
            subprocess.Popen(
                [sys.executable, "-m", f"services.{service}"], env=environment, stdout=log, stderr=log
            ) as process,
        ):
            try:
                yield process
            finally:
                process.kill()

    @contextmanager
    def dying(self, point: str, **settings: str) -> Iterator[None]:
        """A service that dies at the point in the course of the block; the block ends when it has."""
        service, mark = point.split(".")[0], self.folder / "mark"
        settings = {"LEARNBACK_CRASH_AT": point, "LEARNBACK_CRASH_MARK": str(mark), **settings}
        with self.running(service, **settings) as process:
            yield
            until(lambda: process.poll() is not None, f"the {service} comes to {point}")
            assert process.returncode == -signal.SIGKILL, (self.folder / f"{service}.log").read_text()[-3000:]
        assert mark.exists()

    def _environment(self, service: str) -> dict[str, str]:
        self.url(service)
        return {
            "LEARNBACK_KAFKA_BOOTSTRAP_SERVERS": self.bus.servers,
            "LEARNBACK_TOPIC_PREFIX": self.bus.prefix,
            "LEARNBACK_INSTANCE": "one",  # its successor has its partitions at once
            "LEARNBACK_DATABASE_URL": self.database_url,
            "LEARNBACK_ARTIFACTS_URL": f"file://{self.folder}/artifacts",
            "LEARNBACK_POLICY_FILE": f"{self.folder}/learnback.toml",
            "LEARNBACK_SECRET_FILE": f"{self.folder}/secret",
            "LEARNBACK_KEYS_FILE": f"{self.folder}/keys.json",
            "LEARNBACK_COLLECTOR_SPOOL_FILE": f"{self.folder}/spool.db",
            "LEARNBACK_AGGREGATOR_DATA_DIR": f"{self.folder}/aggregator",
            "LEARNBACK_TRAINER_WORK_DIR": f"{self.folder}/trainer",
            f"LEARNBACK_{service.upper()}_PORT": str(self.ports[service]),
            f"LEARNBACK_{service.upper()}_THREADS": "1",
        }
