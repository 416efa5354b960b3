"""The key of a request: `Authorization: Bearer lb_…`."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from shared.errors import ForbiddenError
from shared.http.browsers import check_origin
from shared.identity import ApiKey, Keyring, Scope

BEARER = HTTPBearer(auto_error=False, description="An API key: `learnback keys create APP`.")


@dataclass(frozen=True, eq=False)  # FastAPI hashes its dependencies
class Bearer:
    """Gives the request's key, or refuses it before the body is read; as it is, or as a dependency of a route.

    The key has one of the scopes. A publishable key, which anybody can read, is let in with `pages` alone, on a page
    of its origins.
    """

    keyring: Keyring
    scopes: tuple[Scope, ...]
    pages: bool = False

    def of(self, request: Request) -> ApiKey:
        """The request's key.

        Raises:
            ForbiddenError: there is none, or it may not do this.
            RequestError: 403, it is not for this page.
        """
        kind, _, credentials = request.headers.get("authorization", "").partition(" ")
        found = self.keyring.check(credentials.strip() if kind.lower() == "bearer" else None, *self.scopes)
        if found.origins and not self.pages:
            raise ForbiddenError("forbidden", "A publishable key may only send feedback.", "authorization")
        check_origin(found, request)
        return found

    async def __call__(self, request: Request, _: HTTPAuthorizationCredentials | None = Depends(BEARER)) -> ApiKey:
        """The request's key, in a way that FastAPI documents."""
        return self.of(request)


def bearer(keyring: Keyring, *scopes: Scope, pages: bool = False) -> Bearer:
    """What asks for a key with one of the scopes."""
    return Bearer(keyring, scopes, pages)
