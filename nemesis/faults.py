"""What goes wrong: processes killed, frozen and restarted at random, and how long each takes to be ready again."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Literal

import psutil
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from local.programs import START_S, Program
from local.readiness import is_ready
from nemesis.installation import Installation, serving
from nemesis.poison import SILENT

FaultKind = Literal["kill", "kill_serving", "kill_family", "pause", "pause_serving", "restart"]
KINDS: tuple[FaultKind, ...] = ("kill", "kill_family", "pause", "restart")
SERVING: dict[FaultKind, FaultKind] = {"kill": "kill_serving", "pause": "pause_serving"}
PLAIN = {serving: kind for kind, serving in SERVING.items()}
INNER = 0.5  # of kills and pauses, of the process that serves, where it is not the program's own
WEIGHTS = (35, 15, 30, 20)
BROKER = "kafka"
BROKER_EVERY_S = 45.0
PAUSE_S = (0.5, 8.0)
PATIENCE_S = 90.0  # far beyond every bar: then it did not recover
LOOK_S = 0.02


@dataclass(frozen=True)
class Fault:
    """One fault, and the seconds until its victim was ready again; None: it was not in time.

    While the broker is away nobody can be ready: the seconds count from when it is back.
    """

    at: float
    victim: str
    kind: FaultKind
    recovery_s: float | None


class Breaker:
    """Breaks one program after another; a victim is left alone until it has recovered."""

    def __init__(self, here: Installation, chance: random.Random, every_s: float) -> None:
        """A fault each `every_s` seconds on average."""
        self._here, self._chance, self._every_s = here, chance, every_s
        self._programs = here.programs
        self._recovering: set[str] = set()
        self._broker_back = threading.Event()
        self._broker_back.set()
        self._broker_at = 0.0
        self._since = dict.fromkeys(self._programs, time.monotonic())
        self._admin = AdminClient(
            {"bootstrap.servers": here.ports.kafka, "reconnect.backoff.max.ms": 100}, logger=SILENT
        )
        self.faults: list[Fault] = []

    def run(self, stopping: threading.Event) -> None:
        """Break until told to stop; returns when the last victim has recovered."""
        with ThreadPoolExecutor(len(self._programs)) as pool:
            broken_at = time.monotonic()
            while not stopping.wait(self._chance.uniform(0.5, 1.5) * self._every_s):
                for victim in self._victims(broken_at):
                    broken_at = time.monotonic() if victim == BROKER else broken_at
                    self._recovering.add(victim)
                    if victim == BROKER:
                        self._broker_back.clear()
                    kind, is_inner = self._chance.choices(KINDS, WEIGHTS)[0], self._chance.random() < INNER
                    pool.submit(self._break, victim, SERVING.get(kind, kind) if is_inner else kind)

    def _victims(self, broker_broken_at: float) -> list[str]:
        now = time.monotonic()
        if now - broker_broken_at > BROKER_EVERY_S and BROKER not in self._recovering:
            return [BROKER]
        settled = [
            name
            for name, since in self._since.items()
            if name != BROKER and name not in self._recovering and now - since > START_S
        ]
        return [self._chance.choice(settled)] if settled else []

    def _break(self, victim: str, kind: FaultKind) -> None:
        at, main = time.time(), self._pid(victim)
        pid = serving(main) if kind in PLAIN else main
        kind = PLAIN.get(kind, kind) if pid == main else kind
        start = time.monotonic()
        try:
            if pid:
                self._strike(pid, kind)
            is_pause = kind.startswith("pause")
            recovery = self._await(victim, 0 if is_pause else pid, time.monotonic() if is_pause else start)
        finally:
            self._since[victim] = time.monotonic()
            if victim == BROKER:
                self._broker_at = time.monotonic()
                self._broker_back.set()
            self._recovering.discard(victim)
        self._note(Fault(at, victim, kind, recovery))

    def _note(self, fault: Fault) -> None:
        """Keep it for the report, and at once for whoever looks into a run that goes wrong."""
        self.faults.append(fault)
        with (self._here.run.root / "faults.jsonl").open("a") as file:
            file.write(json.dumps(asdict(fault)) + "\n")

    def _strike(self, pid: int, kind: FaultKind) -> None:
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            match kind:
                case "kill" | "kill_serving":
                    os.kill(pid, signal.SIGKILL)
                case "kill_family":
                    for child in psutil.Process(pid).children(recursive=True):
                        with contextlib.suppress(psutil.NoSuchProcess):
                            child.kill()
                    os.kill(pid, signal.SIGKILL)
                case "restart":
                    os.kill(pid, signal.SIGTERM)
                case "pause" | "pause_serving":
                    os.kill(pid, signal.SIGSTOP)
                    time.sleep(self._chance.uniform(*PAUSE_S))
                    os.kill(pid, signal.SIGCONT)

    def _await(self, victim: str, old: int, start: float) -> float | None:
        """Seconds until the victim is ready, by another process than `old`, which is gone."""
        ready = self._broker_answers if victim == BROKER else _probe(self._programs[victim])
        deadline = start + PATIENCE_S
        while time.monotonic() < deadline:
            if not (old and psutil.pid_exists(old)) and ready():
                since = max(start, self._broker_at) if victim != BROKER else start
                return max(0.0, time.monotonic() - since)
            time.sleep(LOOK_S)
            if victim != BROKER and not self._broker_back.is_set():
                self._broker_back.wait(PATIENCE_S)
                deadline = time.monotonic() + PATIENCE_S
        return None

    def _broker_answers(self) -> bool:
        try:
            return bool(self._admin.list_topics(timeout=1).topics)
        except KafkaException:
            return False

    def _pid(self, program: str) -> int:
        return next((life.pid for life in self._here.stack.lives() if life.name == program), 0)


def _probe(program: Program) -> Callable[[], bool]:
    return lambda: is_ready(program)


def slowest(faults: list[Fault]) -> dict[str, dict[str, float | None]]:
    """The longest recovery of each victim by the kind of fault; None when one never came."""
    found: dict[str, dict[str, float | None]] = defaultdict(dict)
    for fault in faults:
        kind = "kill" if fault.kind == "kill_family" else fault.kind
        before = found[fault.victim].get(kind, 0.0)
        now = fault.recovery_s
        found[fault.victim][kind] = None if before is None or now is None else round(max(before, now), 2)
    return dict(found)
