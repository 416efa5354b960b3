"""Records as they were read, by partition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, cast


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
    polled: dict[tuple[str, int], list[Record]] = {}
    for one in records:
        place = one[:2]
        if place not in polled:
            polled[Part(*place)] = []
        polled[place].append(one)
    return cast(dict[Part, list[Record]], polled)
