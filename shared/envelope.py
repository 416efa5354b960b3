"""The door between Kafka records and events: an event enters here once and leaves here once.

A record is the event's JSON with CloudEvents 1.0 headers in binary mode (`ce_id`, `ce_type`, …), so that routers and
dead-letter tools can read what it is without reading what it says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from schemas.events import EVENTS, Event, EventQuarantined, in_utc
from shared.errors import InvalidEventError
from shared.topics import TOPIC_OF, Topic, key_of

Headers = list[tuple[str, bytes]]
OVERHEAD = 400  # bytes of a record beside its value: key, headers, a queue's entry
INSTANCE = "x-instance"  # the header that names the process which accepted an event

MAJOR = 1  # of every schema in `schemas.events`; a record says a newer one in `ce_dataschema` or `schema_version`
_SCHEMA = re.compile(r"[/:.]v?([0-9]{1,9})(?:\.[0-9]+)*$")
_TYPE_NAME = re.compile(r"[A-Z][A-Za-z]{2,63}")


class Outgoing(NamedTuple):
    """What a producer sends for one event."""

    topic: Topic
    key: bytes
    value: bytes | None
    headers: Headers

    @property
    def size(self) -> int:
        """Bytes that it takes in memory, about."""
        return OVERHEAD + len(self.value or b"")


class Sealed(NamedTuple):
    """A record that carries an event, and what those who keep and count records must know of the event."""

    event_type: type[Event]
    event_id: str
    occurred_at: datetime
    user_key: str | None
    record: Outgoing

    @property
    def content(self) -> int:
        """A digest of what the event says, for this process alone: tells a repeat from another event of the same id."""
        said = self.record.value or b""
        return hash(said[said.index(_SAID_FROM) :])


_SAID_FROM = b'"source":'  # the last field of what is not said; before it are an id and a time, which hold no quotes


def seal(event: Event, traceparent: str | None = None, instance: str | None = None) -> Outgoing:
    """Turn an event into the record that carries it; `instance` is the process that counts it (see shared.audit)."""
    value = event.__pydantic_serializer__.to_json(event)  # as `model_dump_json`, without a detour by `str`
    out = carry(type(event), event.event_id, event.occurred_at, event.source, key_of(event), value, instance)
    if type(event) is EventQuarantined:  # exactly: `isinstance` of a pydantic class is a call into Python
        out.headers.extend([("x-dlq-service", event.source.encode()), ("x-dlq-reason", event.reason.encode())])
    if traceparent:
        out.headers.append(("traceparent", traceparent.encode()))
    return out


def sealed(event: Event, instance: str) -> Sealed:
    """An event that the process of this name accepts."""
    user_key = getattr(event, "user_key", None)
    return Sealed(type(event), event.event_id, event.occurred_at, user_key, seal(event, instance=instance))


def carry(
    event_type: type[Event],
    event_id: str,
    occurred_at: datetime,
    source: str,
    key: str,
    value: bytes,
    instance: str | None = None,
) -> Outgoing:
    """The record of an event that is JSON already."""
    subject = key.encode()
    headers: Headers = [
        *_fixed(event_type, source, instance),
        ("ce_id", event_id.encode()),
        _time(occurred_at),
        ("ce_subject", subject),
    ]
    return Outgoing(TOPIC_OF[event_type], subject, value, headers)


@lru_cache(maxsize=64)
def _fixed(event_type: type[Event], source: str, instance: str | None) -> Headers:
    """What the records of one process and type have in common."""
    headers: Headers = [
        ("ce_specversion", b"1.0"),
        ("ce_type", event_type.__name__.encode()),
        ("ce_source", source.encode()),
        ("content-type", b"application/json"),
    ]
    return [*headers, (INSTANCE, instance.encode())] if instance else headers


@lru_cache(maxsize=64)  # the events of one request share theirs
def _time(occurred_at: datetime) -> tuple[str, bytes]:
    return "ce_time", in_utc(occurred_at).encode()


def unseal(value: bytes | None, headers: Iterable[tuple[str, bytes]], topic: Topic) -> Event:
    """Turn a record's value and headers into the event it carries.

    A record without `ce_type` on a topic with a single event is read as that event.

    Raises:
        InvalidEventError: `null_value`, `unknown_type`, `unknown_version` (a newer Learnback may know it),
            `decode_error` (no JSON) or `schema_error`; the detail names fields, never values.
    """
    if value is None:
        raise InvalidEventError("null_value", "The record has no value.")
    types = {event.__name__: event for event in topic.events}
    told = dict(headers)
    named = _told(told, "ce_type")
    event_type = types.get(named or "") if named or len(types) != 1 else next(iter(types.values()))
    if types and named not in EVENTS and _TYPE_NAME.fullmatch(named or ""):
        raise InvalidEventError("unknown_version", f"The record's ce_type is not known yet on {topic.name}.")
    if event_type is None:
        known = "known elsewhere" if named in EVENTS else "unknown"
        raise InvalidEventError("unknown_type", f"The record's ce_type is missing or {known} on {topic.name}.")
    major = MAJOR if event_type is EventQuarantined else _major(value, _told(told, "ce_dataschema"))
    if major > MAJOR:
        raise InvalidEventError("unknown_version", f"The record's schema has version {major}, known is {MAJOR}.")
    try:
        # `model_validate_json` has more around it.
        event: Event = event_type.__pydantic_validator__.validate_json(value)
        return event
    except ValidationError as error:
        code = "decode_error" if any(one["type"] == "json_invalid" for one in _rules(error)) else "schema_error"
        raise InvalidEventError(code, describe(error)) from None


def _told(headers: Mapping[str, bytes], name: str) -> str | None:
    content = headers.get(name)
    return None if content is None else content.decode("ascii", "replace")


def _major(value: bytes, schema: str | None) -> int:
    """The major version of the schema that a record follows; ours when it says none."""
    if schema and (found := _SCHEMA.search(schema)):
        return int(found[1])
    if b'"schema_version"' not in value:
        return MAJOR
    try:
        body = json.loads(value)
    except (ValueError, RecursionError):
        return MAJOR  # no event of any version
    said = str(body.get("schema_version")) if isinstance(body, dict) else ""
    found = re.match(r"v?([0-9]{1,9})(?:\.|$)", said)
    return int(found[1]) if found else MAJOR


def describe(error: ValidationError) -> str:
    """Field paths and rules that a validation broke, without a byte of what was sent."""
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc']) or 'body'}: {item['type']}" for item in _rules(error)[:5]
    )


def _rules(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False, include_context=False, include_input=False)
