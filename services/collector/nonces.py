"""Nonces of user tokens that were used: each is good once, and none is forgotten while its token is good."""

from __future__ import annotations

from shared.errors import RequestError
from shared.tokens import FIELD, LEEWAY_S, LONGEST_S

KEPT_S = LONGEST_S + 2 * LEEWAY_S  # from the first use of the youngest token to the last moment when it is good
CAPACITY = 200_000  # in each generation: 20 MB, and 190 tokens a second


class Nonces:
    """Two generations of nonces, each as long as a token is good."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        """Make one that holds at most twice the capacity."""
        self._capacity = capacity
        self._young: set[str] = set()
        self._old: set[str] = set()
        self._since = 0.0

    def claim(self, nonce: str, at: float) -> None:
        """Use a nonce at a time (s).

        Raises:
            RequestError: 409, it was used; 429, there is no room to remember it.
        """
        if at - self._since > KEPT_S:
            self._old = self._young if at - self._since < 2 * KEPT_S else set()
            self._young, self._since = set(), at
        if nonce in self._young or nonce in self._old:
            raise RequestError(409, "token_replayed", "This user token was used before; fetch another one.", FIELD)
        if len(self._young) >= self._capacity:
            raise RequestError(
                429, "rate_limited", "Too many user tokens are in use.", FIELD, headers={"Retry-After": "60"}
            )
        self._young.add(nonce)

    def release(self, nonce: str) -> None:
        """Let a nonce be used again, since its request came to nothing."""
        self._young.discard(nonce)
        self._old.discard(nonce)
