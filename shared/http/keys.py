"""The key of a request: `Authorization: Bearer lb_…`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from shared.identity import ApiKey, Keyring, Scope

BEARER = HTTPBearer(auto_error=False, description="An API key: `learnback keys create APP`.")


def bearer(keyring: Keyring, scope: Scope) -> Callable[..., Awaitable[ApiKey]]:
    """A dependency that gives the request's key, or raises `ForbiddenError` before the body is read."""

    async def key(credentials: HTTPAuthorizationCredentials | None = Depends(BEARER)) -> ApiKey:
        return keyring.check(credentials.credentials if credentials else None, scope)

    return key
