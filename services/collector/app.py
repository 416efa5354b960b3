"""The collector's wiring: routes → bodies → events → log."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastapi import Depends, FastAPI, Request
from starlette.responses import Response

from services.collector.gate import Gate
from services.collector.intake import Intake, Taken, count
from services.collector.reading import read
from services.collector.receipts import Receipt
from services.collector.requests import ERASURE, FEEDBACK, PREDICTION, REVIEW, TRAINING
from services.collector.settings import CollectorSettings
from services.collector.window import Window
from shared.http.body import parse_json, read_body
from shared.http.browsers import Browsers
from shared.http.documentation import REFUSALS, document, headers, lists, takes
from shared.http.express import Express
from shared.http.keys import Bearer, bearer
from shared.http.probes import probes
from shared.http.problems import ListProblem, Problem, refusals
from shared.http.validation import Shape, check_size, each
from shared.identity import ApiKey, Keyring
from shared.log import Log

DESCRIPTION = "What users say of a language model's answers. 202 means: durable. Every refusal is a problem+json."
WARNING = "X-Learnback-Warning"
TOLD = headers(
    X_Learnback_Warning="What was not taken as it was sent; see `warnings`.",
    X_RateLimit_Used_Pct="How much of the key's quota is used.",
    X_Durability="`spool` when Kafka is away: the events are on the collector's disk.",
    X_Backpressure="How full the spool is, when that is much.",
)
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": Receipt, "headers": TOLD, "description": "Durable since an earlier request: nothing was added."},
    202: {"model": Receipt, "headers": TOLD, "description": "Durable."},
    **REFUSALS,
    403: {**REFUSALS[403], "description": "The key lacks the scope, or is not for this app, user or page."},
    409: {**REFUSALS[422], "description": "Another event has this id, or the user token was used before."},
    429: {**REFUSALS[422], "description": "Too much for this key, nothing was taken: come again after `Retry-After`."},
}
LIST_ANSWERS: dict[int | str, dict[str, Any]] = {
    **ANSWERS,
    **{status: lists(ANSWERS[status]) for status in (403, 409, 413, 422)},
    207: {"model": Receipt, "headers": TOLD, "description": "Some items are durable; `errors` tells of the others."},
}
STRICT = "`handling=strict` refuses fields that are not known, instead of keeping them aside."
VOUCHED = "On a page: the token with which the app's server vouches for the user."


PRESSURE = 0.8  # of the spool; senders that hear it have the last fifth to slow down in


def now() -> datetime:
    """The collector's clock."""
    return datetime.now(UTC)


def create_app(
    log: Log, keyring: Keyring, settings: CollectorSettings | None = None, clock: Callable[[], datetime] = now
) -> FastAPI:
    """The app; its lifespan keeps the log running."""

    @contextlib.asynccontextmanager
    async def prepare(_: FastAPI) -> AsyncIterator[None]:
        async with log.running():
            yield

    app = Express(title="Learnback collector", description=DESCRIPTION, lifespan=prepare, redirect_slashes=False)
    app.include_router(probes(lambda: log.ready, lambda: log.degraded))
    refuse = refusals(app, watch=_count)
    document(app)
    desk = Desk(Intake(log, Window()), Gate(keyring.secret, log.instance, clock, settings or CollectorSettings()))
    apps, pages = bearer(keyring, "ingest"), bearer(keyring, "ingest", pages=True)
    reviewers = bearer(keyring, "review")
    routes = (
        Route("/v1/feedback", desk, pages, FEEDBACK, many=True),
        Route("/v1/predictions", desk, apps, PREDICTION, many=True),
        Route("/v1/reviews", desk, reviewers, REVIEW),
        Route("/v1/training-requests", desk, reviewers, TRAINING),
        Route("/v1/erasures", desk, bearer(keyring, "review", "ingest"), ERASURE),
    )
    for route in routes:
        _document(app, route)
        app.fast(route.path, route.post, refuse)
    app.add_middleware(Browsers, keyring=keyring, watch=_count)
    return app


@dataclass(frozen=True)
class Desk:
    """What every route needs."""

    intake: Intake
    gate: Gate


@dataclass(frozen=True)
class Route:
    """What is posted to one path."""

    path: str
    desk: Desk
    key: Bearer
    shape: Shape[Any]
    many: bool = False

    async def post(self, request: Request) -> Response:
        """Take one request."""
        key = self.key.of(request)
        strict = "handling=strict" in request.headers.get("prefer", "")
        raw = await read_body(request)
        value = parse_json(raw)
        items = value if self.many and isinstance(value, list) else None
        with self.desk.gate.admit(request, key, 1 if items is None else len(items)) as admitted:
            if items is None:
                check_size(value, len(raw))
                taken = await self.desk.intake.take(read(self.shape, value, admitted.origin, strict))
            else:
                reads = each(items, len(raw), lambda item: read(self.shape, item, admitted.origin, strict))
                taken = await self.desk.intake.take_list(reads)
        return _answer(taken, admitted.used)


def _document(app: FastAPI, route: Route) -> None:
    """The route as FastAPI knows it, for the documentation and for other methods; posts come by `Express`."""

    async def post(request: Request, _: ApiKey = Depends(route.key)) -> Response:
        return await route.post(request)

    app.add_api_route(
        route.path,
        post,
        methods=["POST"],
        status_code=202,
        responses=LIST_ANSWERS if route.many else ANSWERS,
        openapi_extra=takes(route.shape, route.many, Prefer=STRICT, X_Learnback_User=VOUCHED),
        name=route.path.removeprefix("/v1/"),
        operation_id=route.path.removeprefix("/v1/"),
    )


def _answer(taken: Taken, used: int | None) -> Response:
    """The receipt, with a header for what deserves a word, and for where the events are when not on the broker."""
    headers = {WARNING: ", ".join(taken.receipt.warnings)} if taken.receipt.warnings else {}
    if used is not None:
        headers["X-RateLimit-Used-Pct"] = str(used)
    if taken.kept.where != "broker":
        headers["X-Durability"] = taken.kept.where
        if taken.kept.fullness >= PRESSURE:
            headers["X-Backpressure"] = f"{taken.kept.fullness:.2f}"
    return Response(taken.receipt.model_dump_json(exclude_none=True), taken.status, headers, "application/json")


def _count(problem: Problem) -> None:
    count(*(problem.errors if isinstance(problem, ListProblem) else [problem]))
