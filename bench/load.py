"""Load on an HTTP server: as much as it takes (wrk, a client in C), or at a constant rate from the due moment on."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from local.layout import HOST
from shared.errors import FatalError

ID = "@ID@"  # in a body: each event's own id, never the same twice

LUA = """
local paths, headers, bodies, items, prefix, n = %(paths)s, %(headers)s, %(bodies)s, %(items)d, "%(prefix)s", 0
request = function()
  local body = {}
  for item = 1, items do
    n = n + 1
    body[item] = table.concat(bodies[n %% #bodies + 1], prefix .. n)
  end
  local whole = table.concat(body, ",")
  if items > 1 then whole = "[" .. whole .. "]" end
  return wrk.format("POST", paths[n %% #paths + 1], headers, whole)
end
done = function(summary, latency)
  local e = summary.errors
  local report = 'REPORT {"requests": %%d, "us": %%d, "refused": %%d, "broken": %%d, "p50": %%f, "p99": %%f}'
  io.write(string.format("\\n" .. report .. "\\n",
    summary.requests, summary.duration, e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Target:
    """What is asked: each body holds `ID` where its own id goes; several paths, and other bodies, are taken in turn."""

    port: int
    paths: Sequence[str]
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)
    items: int = 1
    others: Sequence[str] = ()


@dataclass(frozen=True)
class Load:
    """What came of it. Only answers of 2xx and 3xx count as done; latencies are in milliseconds."""

    done: int
    seconds: float
    failed: int
    p50_ms: float
    p99_ms: float

    @property
    def per_s(self) -> float:
        """Requests done in a second."""
        return self.done / self.seconds


def flood(target: Target, connections: int, seconds: float) -> Load:
    """As many requests as the server takes on so many connections, each waiting for its answer.

    Raises:
        FatalError: wrk is not installed, or did not run.
    """
    if not (wrk := shutil.which("wrk")):
        raise FatalError("The load generator wrk is missing. Install it (Debian, Ubuntu: apt install wrk).")
    with TemporaryDirectory() as folder:
        script = Path(folder) / "load.lua"
        script.write_text(_lua(target), "utf-8")
        url = f"http://{HOST}:{target.port}{target.paths[0]}"
        command = [wrk, "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "20s", "-s", str(script), url]
        done = subprocess.run(command, capture_output=True, text=True)
    report = next((line for line in done.stdout.splitlines() if line.startswith("REPORT ")), None)
    if report is None:
        raise FatalError(f"wrk did not run: {(done.stderr or done.stdout).strip()[-300:]}")
    told = json.loads(report.removeprefix("REPORT "))
    good = told["requests"] - told["refused"]
    return Load(good, told["us"] / 1e6, told["refused"] + told["broken"], told["p50"] / 1e3, told["p99"] / 1e3)


def pace(target: Target, rate: float, connections: int, seconds: float) -> Load:
    """Requests at a constant rate, each timed from when it was due: a stall counts for all that it delays."""
    return asyncio.run(_Pacer(target, rate, connections).run(seconds))


def _lua(target: Target) -> str:
    headers = {"Content-Type": "application/json", **target.headers}
    table = ", ".join(f"[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items())
    return LUA % {
        "paths": "{" + ", ".join(map(json.dumps, target.paths)) + "}",
        "headers": "{" + table + "}",
        "bodies": "{" + ", ".join(map(_pieces, (target.body, *target.others))) + "}",
        "items": target.items,
        "prefix": f"{uuid.uuid4().hex[:12]}-",
    }


def _pieces(body: str) -> str:
    """A body as a table of Lua: what is between its ids."""
    return "{" + ", ".join(map(json.dumps, body.split(ID))) + "}"


class _Connection(asyncio.Protocol):
    """One connection: a request at a time, its answer known by Content-Length."""

    def __init__(self, pacer: _Pacer) -> None:
        self._pacer = pacer
        self._got = bytearray()
        self.due = 0.0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, end, rest = self._got.partition(b"\r\n\r\n")
        if not end:
            return
        length = next(
            int(line[15:]) for line in bytes(head).lower().split(b"\r\n") if line.startswith(b"content-length:")
        )
        if len(rest) >= length:
            self._got.clear()
            self._pacer.answered(self, head[9:10] == b"2")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's
        if self.due:
            self._pacer.failed += 1


class _Pacer:
    """Requests that are due wait for a free connection; the wait is part of their latency."""

    def __init__(self, target: Target, rate: float, connections: int) -> None:
        self._target, self._rate, self._connections = target, rate, connections
        self._prefix = f"{uuid.uuid4().hex[:12]}-"
        self._free: deque[_Connection] = deque()
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._latencies: list[float] = []
        self._left = 0
        self._finished = asyncio.Event()
        self.failed = 0

    async def run(self, seconds: float) -> Load:
        loop = asyncio.get_running_loop()
        for _ in range(self._connections):
            _, connection = await loop.create_connection(lambda: _Connection(self), HOST, self._target.port)
            self._free.append(connection)
        count = self._left = round(self._rate * seconds)
        started = time.perf_counter()
        for number in range(count):
            due = started + number / self._rate
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            elif number % 16 == 0:
                await asyncio.sleep(0)  # behind schedule: answers must be read all the same
            self._waiting.append((due, self._request(number)))
            self._send()
        async with asyncio.timeout(30):
            await self._finished.wait()
        took = time.perf_counter() - started
        for connection in self._free:
            connection.due = 0.0
            connection.transport.close()
        told = sorted(self._latencies)
        p50, p99 = (1e3 * told[int(len(told) * share)] for share in (0.5, 0.99))
        return Load(len(told) - self.failed, took, self.failed, p50, p99)

    def _request(self, number: int) -> bytes:
        target = self._target
        bodies = (target.body, *target.others)
        body = bodies[number % len(bodies)].replace(ID, f"{self._prefix}{number}").encode()
        named = {"Host": HOST, "Content-Type": "application/json", "Content-Length": str(len(body)), **target.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        return f"POST {target.paths[number % len(target.paths)]} HTTP/1.1\r\n{head}\r\n".encode() + body

    def _send(self) -> None:
        while self._waiting and self._free:
            connection = self._free.popleft()
            connection.due, request = self._waiting.popleft()
            connection.transport.write(request)

    def answered(self, connection: _Connection, good: bool) -> None:
        self._latencies.append(time.perf_counter() - connection.due)
        self.failed += not good
        connection.due = 0.0
        self._free.append(connection)
        self._left -= 1
        if not self._left:
            self._finished.set()
        self._send()
