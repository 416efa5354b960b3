"""What runs on one machine, in which order, and supervisord's configuration for it."""

from __future__ import annotations

import configparser
import io
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from local.layout import SERVICES, Ports, RunFolder
from local.tether import tethered
from shared.errors import FatalError
from shared.kafka import Bus

START_RETRIES = 100  # supervisord waits one second longer before each: more than an hour in all
START_S = 5  # ends sooner than that after a start: it failed, wait before the next; later: it died, start it at once
STOP_S = 20  # for one batch, one spool flush, one broker shutdown; then SIGKILL
LOG_BYTES = 10_000_000
TRAINER_NICE = 10  # an increment may take every idle cycle, but none that an answer needs


@dataclass(frozen=True)
class Program:
    """One process that is kept alive. It is ready when its port is open and, if it has a `probe`, that answers 200."""

    name: str
    command: tuple[str, ...]
    port: int
    probe: str | None = None
    nice: int = 0
    more_ports: tuple[int, ...] = ()


@dataclass(frozen=True)
class Stage:
    """Programs that start together and stop together; `then` runs when all are ready, before the next stage."""

    name: str
    programs: tuple[Program, ...]
    then: Callable[[], None] = lambda: None


def stages(run: RunFolder, ports: Ports) -> tuple[Stage, ...]:
    """Kafka, then its topics (Faust never sees one that is made later), then the services."""
    command = (sys.executable, "-m", "local.broker", str(run.kafka), str(ports.kafka_port))
    broker = Program("kafka", command, ports.kafka_port, more_ports=(ports.kafka_port + 1,))
    return (
        Stage("broker", (broker,), Bus(ports.kafka).create_topics),
        Stage("services", tuple(_service(name, ports) for name in SERVICES)),
    )


def _service(name: str, ports: Ports) -> Program:
    return Program(
        name,
        (sys.executable, "-m", f"services.{name}"),
        ports.of(name),
        probe="/_stcore/health" if name == "board" else "/readyz",  # Streamlit has a probe of its own
        nice=TRAINER_NICE if name == "trainer" else 0,
    )


def log_file(run: RunFolder, program: str) -> Path:
    """Where a program's output goes."""
    return run.logs / f"{program}.log"


def configuration(run: RunFolder, stages: tuple[Stage, ...], socket: Path) -> str:
    """The file for supervisord: nothing starts by itself, all that was started is kept alive until it is stopped."""
    config = configparser.RawConfigParser()
    config["supervisord"] = {
        "nodaemon": "true",
        "logfile": _literal(log_file(run, "supervisord")),
        "logfile_maxbytes": str(LOG_BYTES),
        "logfile_backups": "1",
        "pidfile": _literal(run.root / "supervisord.pid"),
        "childlogdir": _literal(run.logs),
    }
    config["unix_http_server"] = {"file": _literal(socket), "chmod": "0600"}
    config["rpcinterface:supervisor"] = {
        "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
    }
    for priority, stage in enumerate(stages, 1):
        names = ",".join(program.name for program in stage.programs)
        config[f"group:{stage.name}"] = {"programs": names, "priority": str(priority)}
        for program in stage.programs:
            config[f"program:{program.name}"] = _program(run, program)
    text = io.StringIO()
    config.write(text)
    return text.getvalue()


def _program(run: RunFolder, program: Program) -> dict[str, str]:
    return {
        "command": _literal(shlex.join(tethered(program.command, program.nice))),
        "autostart": "false",
        "autorestart": "true",
        "startsecs": str(START_S),
        "startretries": str(START_RETRIES),
        "stopwaitsecs": str(STOP_S),
        "stopasgroup": "true",
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": _literal(log_file(run, program.name)),
        "stdout_logfile_maxbytes": str(LOG_BYTES),
        "stdout_logfile_backups": "2",
    }


def _literal(value: str | Path) -> str:
    text = str(value)
    if any(mark in text for mark in ("%", " ;", " #", "\n")):  # expanded, and a comment: it has no way to quote them
        raise FatalError(f"supervisord cannot take {text!r}: move Learnback to a path without '%', ' ;' and ' #'.")
    return text
