"""One installation in containers under a project name of its own, and how its containers are killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local.demo.place import Composed, Place, in_containers, key_in_containers
from local.layout import Ports
from nemesis.installation import free_ports
from shared.errors import FatalError
from shared.kafka import Bus
from tests.conftest import free_port
from tests.containers.images import ROOT

TAG = "test"
PROJECT = "learnback-test"
POLICY = ROOT / "local/demo/learnback.toml"
RUNNING = (
    "kafka",
    "postgres",
    "s3",
    "collector",
    "recorder",
    "aggregator",
    "trainer",
    "evaluator",
    "predictor",
    "board",
)


@dataclass(frozen=True)
class Project:
    """What runs: its variables, and how it is reached from this machine."""

    variables: dict[str, str]
    composed: Composed
    ports: Ports
    place: Place
    took_s: float

    @property
    def bus(self) -> Bus:
        """Its topics."""
        return Bus(self.ports.kafka)

    def key(self, app: str) -> str:
        """A new key for an app."""
        return key_in_containers(self.composed, app)

    def container(self, service: str) -> str:
        """The id of a service's container."""
        return _said("docker", "ps", "-aq", "--filter", f"label=com.docker.compose.project={PROJECT}",
                     "--filter", f"label=com.docker.compose.service={service}")  # fmt: skip

    def kill(self, service: str) -> None:
        """SIGKILL its first process, as a crash does; `docker kill` would tell Docker not to start it again.

        The process is found and killed in the host's process ids, by a container that may see them.
        """
        pid = _said("docker", "inspect", "-f", "{{.State.Pid}}", self.container(service))
        shell = ["--entrypoint=python", f"learnback/cli:{TAG}", "-c", f"import os; os.kill({int(pid)}, 9)"]
        rights = ["--pid=host", "--user=0", "--cap-drop=ALL", "--cap-add=KILL"]
        _said("docker", "run", "--rm", "--network=none", *rights, *shell)

    def starts(self, service: str) -> int:
        """How often Docker has started it again."""
        return int(_said("docker", "inspect", "-f", "{{.RestartCount}}", self.container(service)))

    def await_healthy(self, service: str, restarts: int, timeout_s: float) -> float:
        """Wait until it was started again and its health check holds; returns the seconds.

        Raises:
            FatalError: it was not in time.
        """
        begun = time.monotonic()
        while time.monotonic() - begun < timeout_s:
            state = _said("docker", "inspect", "-f", "{{.State.Health.Status}}", self.container(service))
            if state == "healthy" and self.starts(service) > restarts:
                return time.monotonic() - begun
            time.sleep(0.3)
        raise FatalError(f"{service} is not healthy {timeout_s:.0f} s after a kill.")


@contextmanager
def started(images: dict[str, str], folder: Path) -> Iterator[Project]:
    """`make up` until the block ends, on free ports, with new secrets and volumes."""
    ports = free_ports()
    composed = Composed(secrets=folder / "secrets", postgres_port=free_port(), s3_port=free_port())
    numbers = {f"LEARNBACK_{name.upper()}": str(port) for name, port in ports}
    variables = {
        **os.environ,
        **images,
        **numbers,
        "PROJECT": PROJECT,
        "LEARNBACK_TAG": TAG,
        "LEARNBACK_POLICY": str(POLICY),
        "LEARNBACK_SECRETS": str(composed.secrets),
        "LEARNBACK_POSTGRES_PORT": str(composed.postgres_port),
        "LEARNBACK_S3_PORT": str(composed.s3_port),
    }
    begun = time.monotonic()
    try:
        subprocess.run(["make", "up"], cwd=ROOT, env=variables, check=True, stdout=sys.stderr)
        compose = subprocess.run(["make", "-s", "compose"], cwd=ROOT, env=variables, check=True, capture_output=True)
        composed = composed.model_copy(update={"compose": compose.stdout.decode().strip()})
        os.environ.update(variables)  # what asks the containers here finds the same ones
        place = in_containers(folder, ports, composed)
        yield Project(variables, composed, ports, place, time.monotonic() - begun)
    finally:
        subprocess.run(["make", "down", "VOLUMES=1"], cwd=ROOT, env=variables, stdout=sys.stderr)


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
