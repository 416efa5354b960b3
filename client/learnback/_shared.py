"""What both clients do alike: options, headers, and what becomes of events that cannot be queued."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from learnback._errors import DroppedError, RefusedError
from learnback._ids import new_id
from learnback._outbox import Queued, Stats, write

CAPACITY = 10_000  # events; an hour without the collector at 3 a second
TIMEOUT_S = 10.0  # the collector answers within 2 s even when its broker is away

logger = logging.getLogger("learnback")


@dataclass(frozen=True)
class Options:
    """How a client was set up.

    Raises:
        ValueError: the address is none.
    """

    url: str
    key: str
    predictor_url: str | None
    raise_errors: bool

    def __post_init__(self) -> None:
        for url in (self.url, self.predictor_url):
            if url is not None and not url.startswith(("http://", "https://")):
                raise ValueError("An address starts with http:// or https://.")

    @property
    def headers(self) -> dict[str, str]:
        """Of every request."""
        return {"Authorization": f"Bearer {self.key}", "User-Agent": "learnback-python"}

    def write(
        self, path: str, event_id: str | None, body: Callable[[], Mapping[str, Any]]
    ) -> tuple[str, Queued | None]:
        """The event's id, and the event; None when it cannot be written as JSON and errors are not raised.

        Raises:
            RefusedError: it cannot be written, and `raise_errors` is set.
        """
        event_id = event_id or new_id()
        try:
            return event_id, write(path, event_id, body())
        except Exception as error:  # whatever the app handed over must not come back at it
            told = RefusedError("not_json", f"The values cannot be written as JSON ({type(error).__name__}).")
            if self.raise_errors:
                raise told from None
            logger.warning("1 event refused, it is %s: %s", event_id, told.code)
            return event_id, None

    def full(self, stats: Stats) -> None:
        """Say that an event found no room; in the log once, then every thousandth time.

        Raises:
            DroppedError: `raise_errors` is set.
        """
        if self.raise_errors:
            raise DroppedError("The queue is full or closed; the event was dropped.")
        if stats.dropped % 1000 == 1:
            logger.warning("%d event(s) dropped so far: the queue is full or closed", stats.dropped)

    def check(self, before: Stats, after: Stats) -> None:
        """Tell what was lost between two looks.

        Raises:
            DroppedError: something was, and `raise_errors` is set.
        """
        rejected, dropped = after.rejected - before.rejected, after.dropped - before.dropped
        if self.raise_errors and (rejected or dropped):
            raise DroppedError(f"{rejected} event(s) were refused and {dropped} dropped; see the log.")
