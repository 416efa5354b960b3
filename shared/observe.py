"""What a service shows of itself: JSON log lines, Prometheus metrics, and probes for those without HTTP.

Logs name ids and places, never what a user wrote. `/livez` tells that the loop turns, `/readyz` that it can work.
"""

from __future__ import annotations

import logging
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

from shared.errors import FatalError

EVENTS_IN = Counter("learnback_events_in_total", "Events taken from Kafka", ["service", "type"])
EVENTS_OUT = Counter("learnback_events_out_total", "Events put on Kafka", ["service", "type"])
DEAD_LETTERED = Counter("learnback_dead_letters_total", "Records put aside", ["service", "reason"])
LAG = Gauge("learnback_consumer_lag_events", "Events not yet taken", ["service", "topic"])
PRODUCER_FATAL = Counter("learnback_producer_fatal_total", "Producers that could not go on and were made anew")
HANDLE_SECONDS = Histogram("learnback_handle_seconds", "Time to handle one batch", ["service"])

SELDOM_S, SAYINGS = 10.0, 1_000  # sayings that are remembered
LOOP_STALL_S = 120.0  # a loop that has not turned for this long is stuck; a batch takes well under a second


class Seldom(logging.Filter):
    """Lets what a library repeats pass once in ten seconds, and tells how often it was said meanwhile.

    While a broker is away, Kafka's clients for Python write up to a thousand lines a second.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write it; what was said with other names in it is the same."""
        said = record.name, str(record.msg)
        at, left_out = self._said.get(said, (-math.inf, 0))
        if record.created - at < SELDOM_S:
            self._said[said] = at, left_out + 1
            return False
        if len(self._said) >= SAYINGS:
            self._said.clear()
        self._said[said] = record.created, 0
        if left_out:
            record.msg = f"{record.msg} (and {left_out} more like it)"
        return True


def start_logging(service: str) -> structlog.stdlib.BoundLogger:
    """JSON lines on stderr, one an event, with the service's name."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    seldom = Seldom()
    for handler in logging.getLogger().handlers:
        handler.addFilter(seldom)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
    structlog.contextvars.bind_contextvars(service=service)
    logger: structlog.stdlib.BoundLogger = structlog.get_logger()
    return logger


@dataclass
class Pulse:
    """Touched by a loop each turn; read by the probes. `trouble` is why it is not ready, when that is known."""

    ready: bool = False
    trouble: str = "starting"
    _touched: float = field(default_factory=time.monotonic)

    def touch(self) -> None:
        """Say that the loop turned."""
        self._touched = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether the loop turned lately."""
        return time.monotonic() - self._touched < LOOP_STALL_S


def serve_probes(service: str, pulse: Pulse, host: str, port: int) -> Callable[[], None]:
    """Answer `/livez`, `/readyz` and `/metrics` in a thread; returns what stops it and frees the port.

    Raises:
        FatalError: the port is in use.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            match self.path:
                case "/livez":
                    self._answer(200 if pulse.alive else 503, b"ok\n" if pulse.alive else b"stalled\n")
                case "/readyz":
                    said = "ready" if pulse.ready else pulse.trouble
                    self._answer(200 if pulse.ready else 503, f"{said}\n".encode())
                case "/metrics":
                    self._answer(200, generate_latest(), CONTENT_TYPE_LATEST)
                case _:
                    self._answer(404, b"not found\n")

        def _answer(self, status: int, body: bytes, kind: str = "text/plain") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes are not news."""

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise FatalError(
            f"{service}: cannot listen on {host}:{port} ({error.strerror}); free it or set"
            f" LEARNBACK_{service.upper()}_PORT."
        ) from None
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return stop


@contextmanager
def running(service: str, host: str, port: int) -> Iterator[tuple[Pulse, threading.Event]]:
    """A worker's surroundings: logs, probes, and an event that SIGTERM and SIGINT set.

    Raises:
        FatalError: the probes' port is in use.
    """
    start_logging(service)
    pulse, stopping = Pulse(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    stop_probes = serve_probes(service, pulse, host, port)
    try:
        yield pulse, stopping
    finally:
        stop_probes()
