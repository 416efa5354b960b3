"""Who speaks, for whom, and how much: the quota of a key, and the proof that a browser's user is who it says."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from starlette.requests import Request

from services.collector.events import Origin
from services.collector.nonces import Nonces
from services.collector.quota import Quota
from services.collector.settings import CollectorSettings
from shared.identity import ApiKey
from shared.tokens import FIELD, Voucher, token_secret, verify


@dataclass(frozen=True)
class Admitted:
    """A request that was let in: its origin, and how much of the key's quota is used (percent)."""

    origin: Origin
    used: int | None


@dataclass
class Gate:
    """Lets a request in, or refuses it."""

    secret: bytes
    instance: str
    clock: Callable[[], datetime]
    settings: CollectorSettings
    nonces: Nonces = field(default_factory=Nonces)

    def __post_init__(self) -> None:
        self._servers, self._browsers = Quota(self.settings.rate), Quota(self.settings.browser_rate)

    @contextlib.contextmanager
    def admit(self, request: Request, key: ApiKey, events: int) -> Iterator[Admitted]:
        """Let a request with so many events in; when the request comes to nothing, its token is still good.

        Raises:
            RequestError: 401 or 409 for a bad token, 429 when there is too much.
        """
        at = self.clock()
        browser = bool(key.origins)
        used = (self._browsers if browser else self._servers).take(key.id, events, at.timestamp())
        voucher = self._voucher(request, key, at) if browser else None
        try:
            proven = voucher.user if voucher else None
            yield Admitted(
                Origin(key.app, self.secret, at, self.instance, "review" in key.scopes, browser, proven), used
            )
        except BaseException:
            if voucher:
                self.nonces.release(voucher.nonce)
            raise

    def _voucher(self, request: Request, key: ApiKey, at: datetime) -> Voucher | None:
        token = request.headers.get(FIELD)
        if token is None:
            return None
        voucher = verify(token, key.app, token_secret(self.secret, key.id), at)
        self.nonces.claim(voucher.nonce, at.timestamp())
        return voucher
