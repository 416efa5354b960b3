"""Dead letters: records that a service could not take, put aside with where they came from and why.

A letter's value is the record's bytes. Its key is the record's place and the service, or what it says where a log may
hold it twice, so that a repeat replaces it and that it can be taken back when its user asks to be forgotten. Its
headers hold provenance and the record's CloudEvents headers, never text that a user wrote. A record of a schema version
that we do not know yet waits in the quarantine, which looks the same, until a newer Learnback knows it.
"""

from __future__ import annotations

import re
import tomllib
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from shared.envelope import Headers, Outgoing
from shared.topics import DEAD_LETTERS, QUARANTINE, Topic

PREFIX = "x-dlq-"
PROJECT = Path(__file__).parents[1] / "pyproject.toml"
CARRIED = {  # headers of the record that a letter carries on, so that it can be sent again as it was
    "ce_specversion",
    "ce_id",
    "ce_type",
    "ce_source",
    "ce_time",
    "ce_subject",
    "ce_dataschema",
    "content-type",
    "traceparent",
    "x-instance",
}
MOST_HEADER = 500  # bytes of a header that is carried on; ours are shorter, and a longer one could be a text
# A letter must fit where its record did: a topic takes 1,048,588 bytes, headers included. What is longer stays where
# it is, and its letter says so.
MOST_BYTES = 1_000_000
TOO_LONG = "too_long"  # in `x-dlq-bytes`: the value was left out, the record still lies at its place
REDRIVEN = (f"{PREFIX}redriven", b"yes")  # on a record that was sent again, and on its letter
SKIPPED = frozenset({"null_value"})  # a tombstone says nothing: counted, and passed over
QUARANTINED = frozenset({"unknown_version", "forged_app"})  # for a newer Learnback, or for a person

_USER = re.compile(rb'"user_key"\s*:\s*"([0-9a-f]{32})"')
_EVENT = re.compile(rb'"event_id"\s*:\s*"([A-Za-z0-9][A-Za-z0-9._:-]{0,63})"')
_TIME = re.compile(rb'"occurred_at"\s*:\s*"([0-9T:.Z+-]{20,40})"')


@dataclass(frozen=True)
class Original:
    """A record as it was read: where it lies, when it was written (ms), and what it holds.

    Clients whose records look the same (kafka-python) need not make one.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True)
class Letter:
    """A letter as it was read. `original` holds where and what the record was; `written_at` is the letter's own time.

    `event_id`, `user_key` and `said_at` are what the bytes tell, even if they are no event.
    """

    id: str
    original: Original
    service: str
    reason: str
    error: str
    attempts: int
    version: str
    whole: bool
    redriven: bool
    quarantined: bool
    event_id: str | None
    user_key: str | None
    said_at: datetime | None
    written_at: datetime


def place(topic: str, partition: int, offset: int, service: str) -> str:
    """A letter's id: where its record lies, and who put it aside."""
    return f"{topic}/{partition}/{offset}/{service}"


def is_kept(reason: str, service: str) -> bool:
    """Whether a record that a service refuses is put aside: a tombstone is not, the quarantine needs one copy."""
    return reason not in SKIPPED and (reason not in QUARANTINED or service in QUARANTINE.writers)


def shelf(reason: str) -> Topic:
    """The topic on which a record that was put aside for a reason waits."""
    return QUARANTINE if reason in QUARANTINED else DEAD_LETTERS


def write(record: Any, service: str, reason: str, error: str, attempts: int = 1, name: str = "") -> Outgoing:
    """The letter of a record. `error` names rules and fields, never values; `name` is its id, if not its place.

    Nothing in it depends on the clock, so that a repeat after a crash is the same letter.
    """
    value = record.value or b""
    told = {
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "ts": _moment(record.timestamp),
        "service": service,
        "version": _version(),
        "reason": reason,
        "error": error[:1000],
        "attempts": str(attempts),
        "key": b64encode(record.key or b"").decode(),
    }
    if len(value) > MOST_BYTES:
        told["bytes"], value = TOO_LONG, b""
    headers = [(PREFIX + header, content.encode()) for header, content in told.items()]
    headers += [one for one in record.headers or () if one[0] in CARRIED and len(one[1]) <= MOST_HEADER]
    key = name or place(record.topic, record.partition, record.offset, service)
    return Outgoing(shelf(reason), key.encode(), value, headers)


def tombstone(letter_id: str, topic: Topic) -> Outgoing:
    """What takes a letter back: once the broker has compacted the topic, its bytes are gone."""
    return Outgoing(topic, letter_id.encode(), None, [])


def mark_redriven(record: Any, topic: Topic) -> Outgoing:
    """The letter again, marked as sent to where it came from."""
    headers = [one for one in record.headers if one[0] != REDRIVEN[0]]
    return Outgoing(topic, record.key, record.value, [*headers, REDRIVEN])


def read(record: Any, quarantined: bool = False) -> Letter:
    """The letter in a record of the dead letters or of the quarantine; one without provenance is its own origin."""
    told = {name[len(PREFIX) :]: _text(content) for name, content in record.headers if name.startswith(PREFIX)}
    carried = [(name, content) for name, content in record.headers if not name.startswith(PREFIX)]
    topic, service = told.get("topic", record.topic), told.get("service", "unknown")
    partition, offset = _number(told.get("partition"), record.partition), _number(told.get("offset"), record.offset)
    key = b64decode(told["key"]) if "key" in told else record.key
    value = record.value or b""
    named = _text(record.key or b"") if told else ""
    return Letter(
        id=named or place(topic, partition, offset, service),
        original=Original(topic, partition, offset, record.timestamp, key, value, carried),
        service=service,
        reason=told.get("reason", "no_provenance"),
        error=told.get("error", ""),
        attempts=_number(told.get("attempts"), 1),
        version=told.get("version", ""),
        whole=told.get("bytes") != TOO_LONG,
        redriven="redriven" in told,
        quarantined=quarantined,
        event_id=_header(carried, "ce_id") or _found(_EVENT, value),
        user_key=_found(_USER, value),
        said_at=_time(_found(_TIME, value)) or _time(_header(carried, "ce_time")) or _time(told.get("ts")),
        written_at=datetime.fromtimestamp(record.timestamp / 1000, UTC),
    )


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace").replace("\x00", "")


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and re.fullmatch(r"-1|[0-9]{1,18}", text) else otherwise


def _header(headers: Iterable[tuple[str, bytes]], wanted: str) -> str | None:
    return next((_text(content)[:64] for name, content in headers if name == wanted), None)


def _found(pattern: re.Pattern[bytes], value: bytes) -> str | None:
    found = pattern.search(value)
    return found[1].decode() if found else None


def _time(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else None


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@cache
def _version() -> str:
    """Of the installed distribution, or, where the code alone was copied (an image), of its pyproject.toml."""
    try:
        return version("learnback-server")
    except PackageNotFoundError:
        project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
        return str(project["version"])
