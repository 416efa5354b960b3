"""Processes and ports of this machine: who listens, who belongs to a session, and how to end a whole session."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time

import psutil

TERM_S = 5.0  # orphans got SIGTERM from the kernel already, or get it here; then SIGKILL


def members(session: int) -> list[int]:
    """The living processes of a session. A process cannot leave it by losing its parent or changing its group."""
    return [pid for pid in psutil.pids() if _session(pid) == session and _alive(pid)]


def end_session(session: int, patience_s: float = TERM_S) -> None:
    """End every process of a session: SIGTERM, and SIGKILL for those that stay. Returns when none is left."""
    _signal_all(session, signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    while members(session):
        if time.monotonic() > deadline:
            _signal_all(session, signal.SIGKILL)
        time.sleep(0.05)


def port_in_use(host: str, port: int) -> str | None:
    """Who holds a port, for people: `pid 42 (java)` or `another program`; None when it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that only lingers in TIME_WAIT is free
        try:
            probe.bind((host, port))
        except OSError:
            return _owner(port)
    return None


def _owner(port: int) -> str:
    with contextlib.suppress(psutil.Error):  # another user's sockets are hidden
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"pid {connection.pid} ({psutil.Process(connection.pid).name()})"
    return "another program"


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _signal_all(session: int, number: signal.Signals) -> None:
    for pid in members(session):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
