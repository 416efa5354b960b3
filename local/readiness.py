"""Whether a program is ready, and what its log says when it is not."""

from __future__ import annotations

import http.client
import socket
from contextlib import closing
from pathlib import Path

from local.layout import HOST
from local.programs import Program

PROBE_S = 2.0
TAIL_BYTES = 4000
LINE_CHARACTERS = 300


def is_ready(program: Program) -> bool:
    """Its port is open and its probe, if it has one, answers 200."""
    try:
        if program.probe is None:
            socket.create_connection((HOST, program.port), PROBE_S).close()
            return True
        with closing(http.client.HTTPConnection(HOST, program.port, timeout=PROBE_S)) as connection:
            connection.request("GET", program.probe)
            return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False


def last_words(log: Path) -> str:
    """The end of a sentence about a program that failed: the last line of its log, and where the rest is."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        lines = []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    said = f"Its last words: {last[:LINE_CHARACTERS]}" if last else "It said nothing"
    return f"{said} (log: {log})"
