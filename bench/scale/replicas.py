"""Replicas of one service: processes that join their group, are ended in order or killed, each on a port of its own.

They have no names that survive a restart (`LEARNBACK_INSTANCE`), so that each coming and each going is a rebalance, and
the partitions of a killed one move when its session has ended.
"""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.stage import answers, await_ready, free_port, program

STEP_S = 4.0  # between two changes of a group
NAMES = {"java": "Kafka", "postgres": "Postgres"}
STEPS = ("joins", "is killed", "joins", "is ended")


@dataclass
class Replica:
    """One running process."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path
    stack: ExitStack

    def await_ready(self) -> float:
        """Wait for its probe; the seconds that took."""
        return await_ready(self.process, self.folder / "log", answers(self.port, "/readyz"))

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it, and wait until it is gone."""
        self.process.send_signal(number)
        self.stack.close()


@dataclass
class Replicas:
    """The replicas that run now, the oldest first."""

    service: str
    folder: Path
    variables: Mapping[str, str]
    running: list[Replica] = field(default_factory=list)
    joined: int = 0

    def join(self) -> Replica:
        """Start one more."""
        self.joined += 1
        port, folder, stack = free_port(), self.folder / f"{self.service}-{self.joined}", ExitStack()
        folder.mkdir(parents=True)
        upper = self.service.upper()
        own = {
            f"LEARNBACK_{upper}_PORT": str(port),
            f"LEARNBACK_{upper}_DATA_DIR": f"{folder}/data",
            f"LEARNBACK_{upper}_WORK_DIR": f"{folder}/work",
        }
        variables = {name: value for name, value in self.variables.items() if name != "LEARNBACK_INSTANCE"} | own
        command = [sys.executable, "-m", f"services.{self.service}"]
        process = stack.enter_context(program(command, folder / "log", variables))
        self.running.append(Replica(process, port, folder, stack))
        return self.running[-1]

    def leave(self, replica: Replica, number: signal.Signals = signal.SIGTERM) -> None:
        """End one by a signal."""
        self.running.remove(replica)
        replica.end(number)

    def come_and_go(self, until: Callable[[], bool]) -> Counter[str]:
        """Change the group again and again until something holds; how often each kind of change came."""
        done: Counter[str] = Counter()
        for step in itertools.cycle(STEPS):
            if until():
                return done
            if step == "joins":
                self.join()
            else:
                self.leave(self.running[0], signal.SIGKILL if step == "is killed" else signal.SIGTERM)
            done[step] += 1
            over = time.monotonic() + STEP_S
            while time.monotonic() < over and not until():
                time.sleep(0.1)
        return done


@contextmanager
def replicas(service: str, folder: Path, variables: Mapping[str, str], count: int) -> Iterator[Replicas]:
    """So many replicas, started together; those that are there at the end are ended."""
    group = Replicas(service, folder, variables)
    try:
        for _ in range(count):
            group.join()
        yield group
    finally:
        for one in group.running:
            one.end()


def cpu_seconds() -> Counter[str]:
    """CPU time of all that the bench has started and that still runs, by Python module or program."""
    spent: Counter[str] = Counter()
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            command, times = one.cmdline(), one.cpu_times()
            module = command[command.index("-m") + 1] if "-m" in command else one.name()
            spent[NAMES.get(module, module)] += times.user + times.system
    return spent
