"""From one item of a request to the event that it says: the short way for plain feedback, the long way for all else.

Nearly everything that apps send is feedback with a handful of fields. Such an item is put into the event's own form
and checked once, as the event. All else goes the long way, which knows every field and what to say of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import ValidationError

from schemas.events import Event, FeedbackReceived
from services.collector.events import SOURCE, Origin, to_event, warnings_of
from services.collector.requests import FEEDBACK, MAX_OWN_ID, MAX_USER, AnyBody
from shared.http.validation import Shape, validate
from shared.identity import user_key
from shared.ids import namespaced, new_id


class Read(NamedTuple):
    """The event of an item, the id that its sender gave it, and what the sender should know of it."""

    event: Event
    own_id: str | None
    warnings: list[str] | tuple[()] = ()


def read(shape: Shape[AnyBody], item: Any, origin: Origin, strict: bool = False) -> Read:
    """Check an item, and make its event.

    Raises:
        RequestError: as `validate` and `to_event`.
    """
    if shape is FEEDBACK and not origin.browser and (plain := _plain(item, origin)):
        return plain
    body = validate(shape, item, strict)
    event = to_event(body, origin)
    return Read(event, body.event_id, warnings_of(body, event))


_to_feedback = FeedbackReceived.__pydantic_validator__.validate_python  # `model_validate` takes half a microsecond more
_PLAIN = frozenset({"event_id", "prediction_id", "kind", "value", "user", "tags"})
_PLAIN_KINDS = frozenset({"thumbs", "rating", "correction", "comment"})  # a preference's pair has fields of its own


def _plain(item: Any, origin: Origin) -> Read | None:
    """Feedback without anything unusual; None for what is not, or is wrong."""
    if type(item) is not dict or not item.keys() <= _PLAIN:
        return None
    own_id, user, kind = item.get("event_id"), item.get("user"), item.get("kind")
    if type(kind) is not str or kind not in _PLAIN_KINDS:
        return None
    if own_id is not None and not (type(own_id) is str and len(own_id) <= MAX_OWN_ID and own_id[:1].isalnum()):
        return None
    if user is not None and not (type(user) is str and 0 < len(user) <= MAX_USER):
        return None
    try:
        event = _to_feedback(
            {
                "event_id": new_id() if own_id is None else namespaced(origin.app, own_id),
                "occurred_at": origin.at,
                "source": SOURCE,
                "prediction_id": item.get("prediction_id"),
                "feedback": {"kind": kind, "value": item.get("value")},
                "app": origin.app,
                "user_key": None if user is None else user_key(origin.secret, origin.app, user),
                "tags": item.get("tags", {}),
            }
        )
    except ValidationError:
        return None
    return Read(event, own_id)
