"""Hostile HTTP: whatever the OpenAPI document allows and forbids, and a body without an end.

schemathesis makes the requests from the document of the running service, good ones and broken ones. An answer is wrong
when it is a 5xx, or has a status, a media type or a body that the document does not name.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import Any

import psutil
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.errors import Unsatisfiable
from requests import Session
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from local.layout import HOST, environment
from local.programs import Program, log_file
from local.readiness import is_ready
from nemesis.installation import Installation, free_ports
from shared.errors import FatalError

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
TIMEOUT_S = 30
ROUND = 250  # cases of one operation, at most, before the next has its turn
Operation = APIOperation[Any, Any, Any, Any]
GIGABYTE = 1 << 30
PIECE = b" " * 1024 * 1024


@dataclass
class Hostile:
    """How many requests were made, how they were answered, what was wrong with which answer, and memory's growth."""

    cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    growth: int = 0


def attacked(here: Installation, key: str, cases: int, seed: int) -> Hostile:
    """Attack the predictor, and a spare collector whose topics nobody reads: what is accepted there is no loss.

    Raises:
        FatalError: the spare collector did not start.
    """
    found = Hostile()
    fuzz(here.ports.url("predictor"), key, cases // 10, seed, found)
    ports = here.ports.model_copy(update={"collector_port": free_ports().collector_port})
    settings = environment(here.run, ports) | {
        "LEARNBACK_TOPIC_PREFIX": "hostile",
        "LEARNBACK_COLLECTOR_SPOOL_FILE": str(here.run.root / "hostile.db"),
    }
    program = replace(here.programs["collector"], port=ports.collector_port)
    with log_file(here.run, "hostile").open("wb") as log:
        spare = subprocess.Popen(program.command, env=os.environ | settings, stdout=log, stderr=log)
    try:
        await_ready(program)
        fuzz(ports.url("collector"), key, cases - found.cases, seed, found)
        found.growth, _ = endless_body(spare.pid, HOST, program.port, key, GIGABYTE)
    finally:
        spare.terminate()
        spare.wait()
    return found


def await_ready(program: Program) -> None:
    """Wait until a program is ready.

    Raises:
        FatalError: it is not in time.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while not is_ready(program):
        if time.monotonic() > deadline:
            raise FatalError(f"A spare {program.name} did not start.")
        time.sleep(0.1)


def fuzz(url: str, key: str, cases: int, seed: int, found: Hostile) -> None:
    """Make so many requests of a service, spread over its operations."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    schema.config.update(base_url=url)
    operations = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    limit = found.cases + cases
    with Session() as session:
        session.headers["Authorization"] = f"Bearer {key}"
        turns = [(one, mode) for one in operations for mode in MODES]
        share = min(ROUND, math.ceil(cases / len(turns)))
        for number, (operation, mode) in enumerate(cycle(turns)):
            before, size = found.cases, min(share, limit - found.cases)
            if size <= 0:
                break
            with contextlib.suppress(Unsatisfiable):  # an operation without parameters has no broken ones
                _round(operation, mode, size, seed + number, session, found)
            if found.cases == before and number > 2 * len(operations):
                break


def _round(
    operation: Operation,
    mode: GenerationMode,
    size: int,
    seed: int,
    session: Session,
    found: Hostile,
) -> None:
    @seeded(seed)
    @settings(
        max_examples=size,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Case[Any]) -> None:
        found.cases += 1
        answer = case.call(session=session, timeout=TIMEOUT_S)
        found.statuses[answer.status_code] += 1
        try:
            case.validate_response(answer, checks=CHECKS)
        except (Failure, FailureGroup) as error:
            told = error.exceptions if isinstance(error, FailureGroup) else [error]
            found.wrong += [f"{case.method} {case.path}: {type(what).__name__} ({answer.status_code})" for what in told]

    one()


def endless_body(pid: int, host: str, port: int, key: str, size: int, route: str = "/v1/feedback") -> tuple[int, bytes]:
    """Stream so many bytes at a service that will not have them, whatever it answers.

    Returns by how many bytes its memory grew at the most, and the first line of its answer.
    """
    process = psutil.Process(pid)
    before, most, answer = process.memory_info().rss, 0, b""
    head = (
        f"POST {route} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with socket.create_connection((host, port), TIMEOUT_S) as line:
        line.sendall(head.encode())
        with contextlib.suppress(ConnectionError):  # it hung up, as it should
            for _ in range(size // len(PIECE)):
                line.sendall(b"%x\r\n" % len(PIECE) + PIECE + b"\r\n")
                most = max(most, process.memory_info().rss - before)
        with contextlib.suppress(ConnectionError):
            answer = line.recv(4096)
    return max(most, process.memory_info().rss - before), answer.split(b"\r\n", 1)[0]
