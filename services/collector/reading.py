"""From one item of a request to the event that it says."""

from __future__ import annotations

from typing import Any, NamedTuple

from services.collector.events import Origin, to_event, warnings_of
from services.collector.requests import AnyBody
from shared.envelope import Sealed
from shared.http.validation import Shape, validate


class Read(NamedTuple):
    """The event of an item, the id that its sender gave it, and what the sender should know of it."""

    event: Sealed
    own_id: str | None
    warnings: list[str]


def read(shape: Shape[AnyBody], item: Any, origin: Origin, strict: bool = False) -> Read:
    """Check an item, and make its event.

    Raises:
        RequestError: as `validate` and `to_event`.
    """
    body = validate(shape, item, strict)
    event = to_event(body, origin)
    return Read(event, body.event_id, warnings_of(body, origin, event))
