"""What a client tried and what it was told: an append-only file that tells the truth even if the client is killed.

A line is written before a request is sent and another when its answer is there. A request without its second line may
or may not have reached anyone: it is `info`, as a time-out is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from shared.errors import FatalError
from shared.text import short_hash

Status = Literal["ok", "fail", "info"]
Kind = Literal["said", "conflict", "answer", "raw", "bad"]


@dataclass(frozen=True)
class Unit:
    """One thing that may be kept: an id and a digest of what was sent under it.

    Kinds: `said` is an event over HTTP, `conflict` another content under an id that was taken before, `answer` an
    answer of the predictor, `raw` poison put into a topic around the collector, `bad` a body that must be refused.
    """

    id: str
    content: str
    kind: Kind = "said"


@dataclass(frozen=True)
class Attempt:
    """One try to have one unit kept. `ok`: a 2xx; `fail`: refused, nothing may be kept; `info`: nobody knows."""

    unit: Unit
    t0: float
    t1: float | None
    status: Status
    http: int | None = None
    receipt: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What a client was told about one item of a request."""

    status: Status
    http: int | None = None
    receipt: str | None = None


def digest_of(*parts: object) -> str:
    """A digest of what is said: 16 hex digits are enough to tell a million contents apart."""
    return short_hash(*(json.dumps(part, sort_keys=True) for part in parts))[:16]


class History:
    """The file. Each line is one write of the kernel's, so what a killed client wrote is there."""

    def __init__(self, path: Path) -> None:
        """Open the file to append to it."""
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._next = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def begin(self, units: Sequence[Unit], now: float) -> int:
        """Note that a request with these units is about to be sent; returns its number."""
        self._next += 1
        sent = [[unit.id, unit.content, unit.kind] for unit in units]
        self._write({"begin": self._next, "at": now, "units": sent})
        return self._next

    def end(self, number: int, outcomes: Sequence[Outcome], now: float) -> None:
        """Note what the request's answer said about each of its units."""
        told = [[one.status, one.http, one.receipt] for one in outcomes]
        self._write({"end": number, "at": now, "told": told})

    def _write(self, line: dict[str, Any]) -> None:
        os.write(self._handle, json.dumps(line, separators=(",", ":")).encode() + b"\n")


def read(path: Path) -> list[Attempt]:
    """All attempts in the order in which they began.

    Raises:
        FatalError: a line in the middle is torn; only the last may be, if the client was killed.
    """
    begun: dict[int, tuple[float, list[Unit]]] = {}
    ended: dict[int, tuple[float, list[Outcome]]] = {}
    for line in _lines(path):
        if "begin" in line:
            begun[line["begin"]] = (line["at"], [Unit(*unit) for unit in line["units"]])
        else:
            ended[line["end"]] = (line["at"], [Outcome(*one) for one in line["told"]])
    return [
        Attempt(unit, t0, t1, outcome.status, outcome.http, outcome.receipt)
        for number, (t0, units) in begun.items()
        for t1, outcomes in [ended.get(number, (None, [Outcome("info")] * len(units)))]
        for unit, outcome in zip(units, outcomes, strict=True)
    ]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], 1):  # after the last newline: nothing, or what a killed client began
        try:
            yield json.loads(line)
        except ValueError:
            raise FatalError(f"{path}:{number} is torn, so this history proves nothing; run again.") from None
