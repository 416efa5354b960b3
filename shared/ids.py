"""Ids that are made here: unique without asking anybody, and in the order of time.

Time in front (UUID version 7, RFC 9562 section 5.7) lets an index of them grow at one end: a random id touches a page
of its own for each row, and a database of millions of rows writes them all out again and again.
"""

from __future__ import annotations

import hashlib
import os
import time
from functools import lru_cache


def new_id() -> str:
    """A UUIDv7 as 32 hex digits: 48 bits of milliseconds, then 74 random bits."""
    raw = bytearray((time.time_ns() // 1_000_000).to_bytes(6, "big") + os.urandom(10))
    raw[6] = raw[6] & 0x0F | 0x70
    raw[8] = raw[8] & 0x3F | 0x80
    return raw.hex()


def namespaced(app: str, event_id: str) -> str:
    """An app's own id of an event as it is stored: two apps that use the same id do not hide each other's events."""
    return f"{_namespace(app)}.{event_id}"


@lru_cache(maxsize=1024)
def _namespace(app: str) -> str:
    return hashlib.sha256(app.encode()).hexdigest()[:8]
