"""Pages of other origins: whom a browser may ask (CORS), for publishable keys."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from shared.errors import RequestError
from shared.http.problems import Watcher, problem_of, response_of
from shared.identity import ApiKey, Keyring

ASKS = ("authorization", "content-encoding", "prefer", "x-learnback-user")
TELLS = ("Retry-After", "X-Backpressure", "X-Durability", "X-Learnback-Warning", "X-RateLimit-Used-Pct")


class Browsers(CORSMiddleware):
    """Tells browsers that pages of the origins of all publishable keys may ask here; each key has its own."""

    def __init__(self, app: ASGIApp, keyring: Keyring, watch: Watcher) -> None:
        """Wrap an app; `watch` sees refusals."""
        super().__init__(app, allow_methods=["POST"], allow_headers=ASKS, expose_headers=TELLS)
        self._keyring, self._watch = keyring, watch

    def is_allowed_origin(self, origin: str) -> bool:
        """Whether any key is for this origin."""
        return origin in self._keyring.origins

    def preflight_response(self, request_headers: Headers) -> Response:
        """What a browser asks before it sends the request itself, without a key."""
        if self.is_allowed_origin(request_headers["origin"]):
            return super().preflight_response(request_headers)
        told = problem_of(disallowed())
        self._watch(told)
        return response_of(told)


def check_origin(key: ApiKey, request: Request) -> None:
    """Refuse a publishable key on a page that it is not for.

    Raises:
        RequestError: 403 `disallowed_origin`.
    """
    if key.origins and request.headers.get("origin") not in key.origins:
        raise disallowed()


def disallowed() -> RequestError:
    """The refusal of a page."""
    return RequestError(403, "disallowed_origin", "No key is for pages of this origin.", "origin")
