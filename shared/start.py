"""How a service begins: with all that it needs, or not ready, saying what is wrong and what to do.

A service that ended at a wrong password would be started again for ever, and what it had said would scroll by. So it
stays: `/readyz` answers 503 with the reason, its log says it once a minute, it looks again every other second and goes
on when things have been put right. Only a wrong variable ends it, since only a new process would read another.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from shared.errors import FatalError, UnavailableError
from shared.observe import Pulse, serve_probes, start_logging

LOOK_S = 2.0
SAY_S = 60.0

Needs = TypeVar("Needs")


class Place(Protocol):
    """Where a service answers, as its settings say."""

    @property
    def host(self) -> str:
        """Address to listen on."""

    @property
    def port(self) -> int:
        """Port to listen on."""


def await_needs(service: str, place: Place, look: Callable[[], Needs]) -> Needs:
    """What `look` finds, as soon as it raises neither FatalError nor UnavailableError; until then probes answer here.

    SIGTERM and SIGINT end the process meanwhile.

    Raises:
        FatalError: the place of the probes is in use.
    """
    try:
        return look()
    except (FatalError, UnavailableError) as error:
        reason = str(error)
    logger, pulse = start_logging(service), Pulse()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))  # nothing has begun; a library's connect is not unwound
    stop_probes = serve_probes(service, pulse, place.host, place.port)
    said, said_at = "", 0.0
    try:
        while True:
            if reason != said or time.monotonic() - said_at > SAY_S:
                logger.error("cannot_start", reason=reason)
                said, said_at = reason, time.monotonic()
            pulse.trouble = reason
            pulse.touch()
            time.sleep(LOOK_S)
            try:
                found = look()
            except (FatalError, UnavailableError) as error:
                reason = str(error)
            else:
                logger.info("can_start")
                return found
    finally:
        stop_probes()
