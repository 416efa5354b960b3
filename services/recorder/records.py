"""Records as they were read, by partition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple


class Part(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Record(NamedTuple):
    """One record as it was read. `timestamp` is in milliseconds, by the broker's clock."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    timestamp: int


Polled = Mapping[Part, Sequence[Record]]
Places = Mapping[Part, int]


def parted(records: Iterable[Record]) -> dict[Part, list[Record]]:
    """Records by partition, in their order."""
    polled: dict[Part, list[Record]] = {}
    for one in records:
        polled.setdefault(Part(one.topic, one.partition), []).append(one)
    return polled
