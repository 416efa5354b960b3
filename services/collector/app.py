"""The collector's wiring: routes → bodies → events → log."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

from fastapi import Depends, FastAPI, Request
from starlette.responses import Response

from services.collector.intake import Intake, Taken, count
from services.collector.receipts import Receipt
from services.collector.requests import FEEDBACK, PREDICTION, REVIEW, TRAINING
from services.collector.window import Window
from shared.http.body import parse_json, read_body
from shared.http.documentation import REFUSALS, document, takes
from shared.http.keys import bearer
from shared.http.probes import probes
from shared.http.problems import ListProblem, Problem, refusals
from shared.http.validation import Shape, check_size, validate, validate_items
from shared.identity import ApiKey, Keyring, Scope
from shared.log import Log

DESCRIPTION = "What users say of a language model's answers. 202 means: durable. Every refusal is a problem+json."
WARNING = "X-Learnback-Warning"
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": Receipt, "description": "Durable since an earlier request with the same ids: nothing was added."},
    202: {"model": Receipt, "description": "Durable."},
    **REFUSALS,
    409: {**REFUSALS[422], "description": "An event with this id says something else; the first stays."},
}
LIST_ANSWERS = ANSWERS | {
    207: {"model": Receipt, "description": "Some items are durable; `errors` tells which are refused, and why."}
}


PRESSURE = 0.8  # of the spool; senders that hear it have the last fifth to slow down in


def now() -> datetime:
    """The collector's clock."""
    return datetime.now(UTC)


def create_app(log: Log, keyring: Keyring, clock: Callable[[], datetime] = now) -> FastAPI:
    """The app; its lifespan keeps the log running."""

    @contextlib.asynccontextmanager
    async def prepare(_: FastAPI) -> AsyncIterator[None]:
        async with log.running():
            yield

    app = FastAPI(title="Learnback collector", description=DESCRIPTION, lifespan=prepare, redirect_slashes=False)
    app.include_router(probes(lambda: log.ready, lambda: log.degraded))
    refusals(app, watch=_count)
    document(app)
    intake = Intake(log, keyring.secret, clock, Window())
    _route(app, intake, keyring, "/v1/feedback", "ingest", FEEDBACK, many=True)
    _route(app, intake, keyring, "/v1/predictions", "ingest", PREDICTION, many=True)
    _route(app, intake, keyring, "/v1/reviews", "review", REVIEW)
    _route(app, intake, keyring, "/v1/training-requests", "review", TRAINING)
    return app


def _route(
    app: FastAPI,
    intake: Intake,
    keyring: Keyring,
    path: str,
    scope: Scope,
    shape: Shape[Any],
    many: bool = False,
) -> None:
    async def post(request: Request, key: ApiKey = Depends(bearer(keyring, scope))) -> Response:
        strict = "handling=strict" in request.headers.get("prefer", "")
        raw = await read_body(request)
        value = parse_json(raw)
        if many and isinstance(value, list):
            taken = await intake.take_list(validate_items(shape, value, len(raw), strict), key)
        else:
            check_size(value, len(raw))
            taken = await intake.take(validate(shape, value, strict), key)
        return _answer(taken)

    app.add_api_route(
        path,
        post,
        methods=["POST"],
        status_code=202,
        responses=LIST_ANSWERS if many else ANSWERS,
        openapi_extra=takes(shape, many),
        name=path.removeprefix("/v1/"),
        operation_id=path.removeprefix("/v1/"),
    )


def _answer(taken: Taken) -> Response:
    """The receipt, with a header for what deserves a word, and for where the events are when not on the broker."""
    headers = {WARNING: ", ".join(taken.receipt.warnings)} if taken.receipt.warnings else {}
    if taken.kept.where != "broker":
        headers["X-Durability"] = taken.kept.where
        if taken.kept.fullness >= PRESSURE:
            headers["X-Backpressure"] = f"{taken.kept.fullness:.2f}"
    return Response(taken.receipt.model_dump_json(exclude_none=True), taken.status, headers, "application/json")


def _count(problem: Problem) -> None:
    count(*(problem.errors if isinstance(problem, ListProblem) else [problem]))
