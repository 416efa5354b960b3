"""What Ctrl-C and its kin do: end the run in order once, and hurry when they come again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, kill, the terminal was closed
Handler = Callable[[int, FrameType | None], object]


@contextmanager
def ending() -> Iterator[None]:
    """Each ending raises KeyboardInterrupt, so that every `finally` on the way runs."""
    with _handled(signal.default_int_handler):
        yield


@contextmanager
def hurrying() -> Iterator[threading.Event]:
    """An ending does not interrupt what runs here; it sets the event."""
    hurry = threading.Event()
    with _handled(lambda _number, _frame: hurry.set()):
        yield hurry


@contextmanager
def _handled(handler: Handler) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # Python hands signals to the main thread alone
        return
    before = {number: signal.signal(number, handler) for number in ENDINGS}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)
