"""Run an app on a host and port until SIGTERM or SIGINT, then finish the requests and the app's own end."""

from __future__ import annotations

import signal
import socket
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from shared import garbage
from shared.errors import FatalError
from shared.http.wire import Wire

BACKLOG = 2048
GRACE_S = 10  # an orchestrator gives 30 s from SIGTERM to SIGKILL: requests get these, the app's end the rest


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        FatalError: the port is in use, or the host is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise FatalError(
            f"Cannot listen on {host}:{port} ({error}). End what uses the port, or set another host and port."
        ) from None
    return listener


def configured(app: ASGIApp, wire: type[Wire] = Wire) -> uvicorn.Config:
    """How the HTTP services run under uvicorn."""
    return uvicorn.Config(
        app,
        http=wire,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody here asks who a client is by its address
        lifespan="on",
        timeout_graceful_shutdown=GRACE_S,
    )


def serve(app: ASGIApp, listener: socket.socket) -> None:
    """Serve until the process is told to end; returns when everything has been finished.

    Raises:
        FatalError: the app did not start.
    """
    server = uvicorn.Server(configured(app))
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises the signal again once it is done: a clean end
        signal.signal(number, _end)
    garbage.spare(garbage.LIST)
    server.run(sockets=[listener])
    if not server.started:
        raise FatalError("The service did not start; the lines above say why.")


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)
