"""Every refusal as `application/problem+json` (RFC 9457): a reason for machines, a field, and whether to try again.

`refusals(app, …)` turns the errors of `shared/errors.py`, and those of the framework, into such answers. Bad input
never reaches the handler of unexpected errors; no answer and no log line holds what was sent.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from shared.errors import (
    BadInputError,
    FatalError,
    ForbiddenError,
    ListRefusedError,
    RequestError,
    UnavailableError,
    UnknownModelError,
)

RETRY_AFTER_S = 1  # a broker's fail-over or a restart takes seconds; clients back off from here by themselves
MEDIA_TYPE = "application/problem+json"
RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})
_TELLABLE = re.compile(r"[A-Za-z0-9_.\-\[\]]{1,64}")


class Problem(BaseModel):
    """The body of every answer that is not a success."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(description="URI of the kind of problem.", examples=["urn:learnback:problem:missing"])
    title: str = Field(description="The kind of problem in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened and what to do; never holds what was sent.")
    code: str = Field(description="The reason, for machines; stable.")
    field: str | None = Field(default=None, description="Dotted path of the field that it is about.")
    retryable: bool = Field(description="Whether the same request can succeed later.")
    event_index: int | None = Field(default=None, description="The item of a list that it is about, from 0.")


class ListProblem(Problem):
    """The answer to a list of which no item is taken: the first item's problem, and each one's."""

    errors: list[Problem]


Watcher = Callable[[Problem], None]
Handler = Callable[[Request, Exception], Awaitable[Response]]


def problem(status: int, code: str, detail: str, field: str | None = None, event_index: int | None = None) -> Problem:
    """Make a problem; its type and title follow from the code, whether to retry from the status."""
    return Problem(
        type=f"urn:learnback:problem:{code}",
        title=code.replace("_", " ").capitalize(),
        status=status,
        detail=detail,
        code=code,
        field=field,
        retryable=status in RETRYABLE,
        event_index=event_index,
    )


def path_of(parts: tuple[int | str, ...]) -> str | None:
    """The dotted path of a field; a name that is not an identifier may be user text and becomes `?`."""
    names = (part if isinstance(part, int) or _TELLABLE.fullmatch(part) else "?" for part in parts)
    return ".".join(map(str, names)) or None


def problem_of(error: Exception) -> Problem:
    """The problem that an error is."""
    match error:
        case ListRefusedError():
            first, *_ = errors = [problem_of(one) for one in error.errors]
            return ListProblem(**first.model_dump(), errors=errors)
        case RequestError():
            return problem(error.status, error.code, error.detail, error.field, error.event_index)
        case ForbiddenError():
            return problem(403 if error.code == "forbidden" else 401, error.code, error.detail, error.field)
        case UnknownModelError():
            return problem(404, error.code, error.detail, error.field)
        case BadInputError():
            return problem(422, error.code, error.detail, error.field)
        case UnavailableError():
            return problem(error.status, error.code, str(error))
        case FatalError():
            return problem(503, "misconfigured", "The service is not set up right; its operator must act.")
    return _of_framework(error)


def _of_framework(error: Exception) -> Problem:
    match error:
        case ClientDisconnect():
            return problem(400, "incomplete_body", "The connection closed before the body was complete.")
        case RequestValidationError():
            return problem(422, "invalid_parameter", "A parameter of the path or the query is wrong.", _first(error))
        case HTTPException():
            return problem(error.status_code, _code_of(error.status_code), HTTPStatus(error.status_code).description)
    return problem(500, "internal_error", "Something went wrong here, not in the request. It was logged.")


_ANSWERED = (
    BadInputError,
    UnavailableError,
    FatalError,
    ClientDisconnect,
    RequestValidationError,
    HTTPException,
    Exception,
)


def refusals(app: FastAPI, watch: Watcher = lambda _: None) -> Handler:
    """Answer every error of the app by its problem, after `watch` has seen it (for metrics); returns what does so."""

    async def answer(request: Request, error: Exception) -> Response:
        told = problem_of(error)
        watch(told)
        if told.status == HTTPStatus.INTERNAL_SERVER_ERROR or told.code == "misconfigured":
            structlog.get_logger().error("request_failed", route=_route(request), error=type(error).__name__)
        return response_of(told, _headers(error, told))

    for kind in _ANSWERED:
        app.add_exception_handler(kind, answer)
    return answer


def response_of(told: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that tells a problem."""
    return Response(told.model_dump_json(), told.status, headers, MEDIA_TYPE)


def _route(request: Request) -> str:
    """The route's own path, since what a caller wrote into the URL is not ours to log."""
    route = request.scope.get("route")
    return route if isinstance(route, str) else str(getattr(route, "path", "?"))


def _first(error: RequestValidationError) -> str | None:
    return path_of(tuple(error.errors()[0]["loc"][1:]))


def _code_of(status: int) -> str:
    return HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")


def _headers(error: Exception, told: Problem) -> dict[str, str]:
    headers = dict(error.headers or {}) if isinstance(error, HTTPException | RequestError) else {}
    if told.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if told.status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return headers
