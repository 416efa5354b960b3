"""How many events a key may send: a bucket of tokens for each, filled at a steady rate. Pure; the clock is given.

The bucket is per process and per key, so a restart forgives: a quota guards the service, it bills nobody.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from shared.errors import RequestError

BURST_S = 10  # what was not sent in the last seconds may be sent at once
LEAST = 1_000  # and two full lists in any case


@dataclass
class Bucket:
    """The tokens that one key has left."""

    left: float
    at: float


@dataclass
class Quota:
    """A limit of `rate` events a second for each key; 0 is none."""

    rate: float
    _buckets: dict[str, Bucket] = field(default_factory=dict)

    def take(self, key_id: str, events: int, at: float) -> int | None:
        """Take the tokens of a request at a time (s); returns the percentage that is used, None without a limit.

        Raises:
            RequestError: 429, with when to come again; nothing was taken.
        """
        if not self.rate:
            return None
        size = max(LEAST, self.rate * BURST_S)
        bucket = self._buckets.setdefault(key_id, Bucket(size, at))
        passed = max(0.0, at - bucket.at)  # a clock may be set back
        bucket.left, bucket.at = min(size, bucket.left + passed * self.rate), at
        if bucket.left < events:
            raise self._refusal(events - bucket.left)
        bucket.left -= events
        return round(100 * (1 - bucket.left / size))

    def _refusal(self, missing: float) -> RequestError:
        return RequestError(
            429,
            "rate_limited",
            f"This key may send {self.rate:g} events a second; nothing of this request was taken.",
            "authorization",
            headers={"Retry-After": str(max(1, math.ceil(missing / self.rate)))},
        )
