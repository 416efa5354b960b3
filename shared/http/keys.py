"""The key of a request: `Authorization: Bearer lb_…`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from shared.errors import ForbiddenError
from shared.http.browsers import check_origin
from shared.identity import ApiKey, Keyring, Scope

BEARER = HTTPBearer(auto_error=False, description="An API key: `learnback keys create APP`.")


def bearer(keyring: Keyring, *scopes: Scope, pages: bool = False) -> Callable[..., Awaitable[ApiKey]]:
    """A dependency that gives the request's key, or refuses it before the body is read.

    The key has one of the scopes. A publishable key, which anybody can read, is let in with `pages` alone, on a page
    of its origins.
    """

    async def key(request: Request, credentials: HTTPAuthorizationCredentials | None = Depends(BEARER)) -> ApiKey:
        found = keyring.check(credentials.credentials if credentials else None, *scopes)
        if found.origins and not pages:
            raise ForbiddenError("forbidden", "A publishable key may only send feedback.", "authorization")
        check_origin(found, request)
        return found

    return key
