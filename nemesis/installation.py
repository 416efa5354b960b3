"""A whole installation in a folder of its own: the product's own supervisor, layout and programs, on its own ports."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from local.layout import HOST, Ports, RunFolder
from local.programs import Program, stages
from local.supervise import Stack, running
from shared.identity import Keyring, Scope, read_secret
from shared.kafka import Bus

POLICY = Path(__file__).parent / "learnback.toml"
READY_S = 180


@dataclass(frozen=True)
class Installation:
    """What runs, and how to reach it."""

    run: RunFolder
    ports: Ports
    stack: Stack

    @property
    def bus(self) -> Bus:
        """Its topics."""
        return Bus(self.ports.kafka)

    @property
    def programs(self) -> dict[str, Program]:
        """Its processes by name: the broker is `kafka`."""
        return {program.name: program for stage in stages(self.run, self.ports) for program in stage.programs}

    def key(self, app: str, scope: Scope = "ingest") -> str:
        """A new key for an app."""
        return Keyring(self.run.keys_file, read_secret(self.run.secret_file)).create(app, frozenset({scope}))


def serving(main: int) -> int:
    """The process that serves for a program: the one that its own was forked into (shared/standby.py), or its own."""
    try:
        process = psutil.Process(main)
        forked = [child.pid for child in process.children() if child.cmdline() == process.cmdline()]
    except psutil.NoSuchProcess:
        return main
    return forked[0] if forked else main


@contextmanager
def installed(folder: Path) -> Iterator[Installation]:
    """Everything started and ready, until the block ends."""
    run, ports = RunFolder(folder.absolute()), free_ports()
    with running(run, ports, {"LEARNBACK_POLICY_FILE": str(POLICY)}) as stack:
        stack.wait_ready(READY_S)
        yield Installation(run, ports, stack)


def free_ports() -> Ports:
    """Ports on loopback that nobody has; Kafka's is followed by another free one, for its controller."""
    with ExitStack() as held:

        def take(wanted: int = 0) -> int:
            probe = held.enter_context(socket.socket())
            probe.bind((HOST, wanted))
            port: int = probe.getsockname()[1]
            return port

        names = [name for name in Ports.model_fields if name != "kafka_port"]
        found = {name: take() for name in names}
        while True:
            kafka = take()
            try:
                take(kafka + 1)
            except OSError:
                continue
            return Ports.model_validate({**found, "kafka_port": kafka})
