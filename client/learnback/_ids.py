"""Ids that are unique without asking anybody, and in the order of time: a database of them grows at one end."""

from __future__ import annotations

import os
import time


def new_id() -> str:
    """32 hex digits: 48 bits of milliseconds, then 80 random bits."""
    return (time.time_ns() // 1_000_000).to_bytes(6, "big").hex() + os.urandom(10).hex()
