"""What supervisord says of its programs, over its XML-RPC on a unix socket."""

from __future__ import annotations

import http.client
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import SupervisorTransport


@dataclass(frozen=True)
class Life:
    """One program now. `starts` counts those that this control has seen; `pid` is 0 while it does not run."""

    name: str
    state: str
    pid: int
    starts: int


@dataclass
class Control:
    """A line to supervisord at a socket."""

    socket: Path
    _seen: dict[str, set[int]] = field(default_factory=dict)

    def answers(self) -> bool:
        """Whether supervisord takes commands."""
        try:
            with self._rpc() as server:
                state: Any = server.supervisor.getState()
        except (OSError, Fault, http.client.HTTPException):
            return False
        return bool(state["statename"] == "RUNNING")

    def start(self, group: str) -> None:
        """Start all programs of a group, without waiting for them."""
        with self._rpc() as server:
            server.supervisor.startProcessGroup(group, False)

    def stop(self, program: str) -> None:
        """Stop one program, named as supervisord does (`group:name`), and wait for its end."""
        with self._rpc() as server:
            server.supervisor.stopProcess(program)

    def lives(self) -> list[Life]:
        """How every program does; none when supervisord is gone."""
        try:
            with self._rpc() as server:
                told: Any = server.supervisor.getAllProcessInfo()
        except (OSError, http.client.HTTPException):
            return []
        return [self._life(info) for info in told]

    def _life(self, info: dict[str, Any]) -> Life:
        starts = self._seen.setdefault(info["name"], set())
        if info["start"]:  # in seconds, but two starts are never in the same one: supervisord waits in between
            starts.add(info["start"])
        return Life(info["name"], info["statename"], info["pid"], len(starts))

    def _rpc(self) -> ServerProxy:
        # The host is never looked up: the transport connects to the socket.
        return ServerProxy("http://localhost", SupervisorTransport(serverurl=f"unix://{self.socket}"))
