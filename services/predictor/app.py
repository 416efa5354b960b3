"""The predictor's wiring: a body → the batcher's answer → a prediction on the log."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from fastapi import Depends, FastAPI, Request
from prometheus_client import Histogram
from starlette.responses import Response

from schemas.events import ModelStateChanged, PredictionServed
from services.predictor.batching import Batcher
from services.predictor.requests import PREDICT, PredictAnswer, PredictBody, ServedModel
from services.predictor.serving import Answer, Question, Serving
from shared.envelope import sealed
from shared.errors import UnavailableError
from shared.http.body import read_json
from shared.http.documentation import REFUSALS, document, takes
from shared.http.express import Express
from shared.http.keys import bearer
from shared.http.probes import probes
from shared.http.problems import refusals
from shared.http.validation import validate
from shared.identity import ApiKey, Keyring, user_key
from shared.ids import new_id
from shared.log import Log
from shared.policy import PolicyFile

PREDICT_SECONDS = Histogram("learnback_predict_seconds", "From the body to the durable prediction", ["model"])
DESCRIPTION = "Answers of each model's champion, or canary. An answer comes from exactly one version and says which."

ANSWERS = REFUSALS | {404: {**REFUSALS[422], "description": "No model of that name serves here."}}

News = Callable[[], AsyncGenerator[list[ModelStateChanged], None]]


@dataclass(frozen=True)
class Asked:
    """A request, and what was settled of it before its answer."""

    body: PredictBody
    prediction_id: str
    app: str
    user: str | None
    solicit: bool
    solicit_rate: float


@dataclass
class Desk:
    """What the route works with; the fields are the test seams."""

    serving: Serving
    batcher: Batcher
    log: Log
    keyring: Keyring
    policies: PolicyFile
    news: News
    chance: random.Random = field(default_factory=random.SystemRandom)
    followed: bool = False

    @property
    def ready(self) -> bool:
        """Whether predictions can be logged and all models are as the topic says."""
        return self.log.ready and self.followed

    async def predict(self, body: PredictBody, key: ApiKey) -> PredictAnswer:
        """Answer, and return when the prediction is durable: feedback on it will find it.

        Raises:
            UnavailableError: the models are not known yet, too many inputs wait, or Kafka does not confirm.
            UnknownModelError: the model has no champion.
        """
        if not self.followed:
            raise UnavailableError("It is not known yet which models there are; try again.")
        rules = self.policies.of(body.model).serving
        solicit = self.chance.random() < rules.solicit_rate  # drawn before the answer is known
        prediction_id = body.prediction_id or new_id()
        user = None if body.user is None else user_key(self.keyring.secret, key.app, body.user)
        question = Question(body.model, user or prediction_id, body.input, rules.top_k)
        with PREDICT_SECONDS.labels(body.model if body.model in self.serving.champions else "unknown").time():
            answer = await self.batcher.answer(question)
            asked = Asked(body, prediction_id, key.app, user, solicit, rules.solicit_rate)
            served = _served(asked, answer)
            await self.log.append([sealed(served, self.log.instance)])
        return PredictAnswer(
            prediction_id=served.prediction_id,
            model=answer.model,
            version=answer.version,
            output=answer.output,
            scores=list(answer.scores),
            solicit=solicit,
        )

    async def follow(self) -> None:
        """Whenever a champion or canary changes: load it beside those that answer, and switch between two batches."""
        async with contextlib.aclosing(self.news()) as news:
            async for states in news:
                for state in states:
                    if ready := await self.batcher.beside(partial(self.serving.prepare, state)):
                        await self.batcher.on_thread(partial(self.serving.switch, ready))
                self.followed = True


def _served(asked: Asked, answer: Answer) -> PredictionServed:
    return PredictionServed(
        event_id=new_id(),
        occurred_at=datetime.now(UTC),
        source="predictor",
        prediction_id=asked.prediction_id,
        model=answer.model,
        version=answer.version,
        input=asked.body.input,
        output=answer.output,
        scores=answer.scores,
        solicit=asked.solicit,
        solicit_rate=asked.solicit_rate,
        app=asked.app,
        user_key=asked.user,
        tags=asked.body.tags,
    )


def create_app(desk: Desk) -> FastAPI:
    """The app; its lifespan keeps the log, the batcher and the follower running."""

    @contextlib.asynccontextmanager
    async def prepare(_: FastAPI) -> AsyncIterator[None]:
        async with desk.log.running():
            tasks = [asyncio.create_task(desk.batcher.run()), asyncio.create_task(desk.follow())]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                desk.batcher.close()

    app = Express(title="Learnback predictor", description=DESCRIPTION, lifespan=prepare, redirect_slashes=False)
    app.include_router(probes(lambda: desk.ready))
    refuse = refusals(app)
    document(app)
    ingest = bearer(desk.keyring, "ingest")

    async def post(request: Request) -> Response:
        key = ingest.of(request)
        answer = await desk.predict(validate(PREDICT, await read_json(request)), key)
        return Response(answer.__pydantic_serializer__.to_json(answer), media_type="application/json")

    @app.post("/v1/predict", response_model=PredictAnswer, responses=ANSWERS, openapi_extra=takes(PREDICT))
    async def predict(request: Request, _: ApiKey = Depends(ingest)) -> Response:
        """Answer one input."""
        return await post(request)

    app.fast("/v1/predict", post, refuse)

    @app.get("/v1/models", responses=REFUSALS)
    async def models(key: ApiKey = Depends(ingest)) -> list[ServedModel]:  # noqa: ARG001  (the key is the check)
        """List the models that answer."""
        return [_told(state, desk.serving.refused(model)) for model, state in sorted(desk.serving.champions.items())]

    return app


def _told(state: ModelStateChanged, refused: str | None) -> ServedModel:
    return ServedModel(model=state.model, task=state.task, base=state.base, version=state.version, refused=refused)
