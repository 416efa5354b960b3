"""The collector's wiring: routes → bodies → events → log."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastapi import Depends, FastAPI, Request
from prometheus_client import Counter
from pydantic import TypeAdapter

from schemas.events import TrainingRequested
from services.collector.events import Origin, to_events
from services.collector.requests import FEEDBACK, PREDICTION, REVIEW, TRAINING, Receipt
from shared.http.body import read_json
from shared.http.documentation import REFUSALS, document, takes
from shared.http.keys import bearer
from shared.http.probes import probes
from shared.http.problems import Problem, refusals
from shared.http.validation import validate, validate_items
from shared.identity import ApiKey, Keyring, Scope
from shared.log import Log

OUTCOMES = Counter(
    "learnback_ingest_outcomes_total", "Events accepted, and requests refused by reason", ["outcome", "reason"]
)
DESCRIPTION = "What users say of a language model's answers. 202 means: durable. Every refusal is a problem+json."


def now() -> datetime:
    """The collector's clock."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Intake:
    """What every route does with its body."""

    log: Log
    secret: bytes
    clock: Callable[[], datetime]

    async def take(self, bodies: list[Any], key: ApiKey) -> Receipt:
        """Make the events, wait until they are durable, and say so."""
        events = to_events(bodies, Origin(key.app, self.secret, self.clock()))
        await self.log.append(events)
        OUTCOMES.labels("accepted", "durable").inc(len(events))
        first = events[0]
        return Receipt(
            accepted=len(events),
            event_ids=[event.event_id for event in events],
            server_id=any(body.event_id is None for body in bodies),
            request_id=first.request_id if isinstance(first, TrainingRequested) else None,
        )


def create_app(log: Log, keyring: Keyring, clock: Callable[[], datetime] = now) -> FastAPI:
    """The app; its lifespan keeps the log running."""

    @contextlib.asynccontextmanager
    async def prepare(_: FastAPI) -> AsyncIterator[None]:
        async with log.running():
            yield

    app = FastAPI(title="Learnback collector", description=DESCRIPTION, lifespan=prepare, redirect_slashes=False)
    app.include_router(probes(lambda: log.ready))
    refusals(app, watch=_count)
    document(app)
    intake = Intake(log, keyring.secret, clock)
    _route(app, intake, keyring, "/v1/feedback", "ingest", FEEDBACK, many=True, tag="kind")
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
    adapter: TypeAdapter[Any],
    many: bool = False,
    tag: str | None = None,
) -> None:
    async def post(request: Request, key: ApiKey = Depends(bearer(keyring, scope))) -> Receipt:
        value = await read_json(request)
        bodies = validate_items(adapter, value, tag) if many else [validate(adapter, value)]
        return await intake.take(bodies, key)

    app.add_api_route(
        path,
        post,
        methods=["POST"],
        status_code=202,
        response_model_exclude_none=True,
        responses=REFUSALS,
        openapi_extra=takes(adapter, many),
        name=path.removeprefix("/v1/"),
        operation_id=path.removeprefix("/v1/"),
    )


def _count(problem: Problem) -> None:
    OUTCOMES.labels("unavailable" if problem.status >= 500 else "refused", problem.code).inc()
