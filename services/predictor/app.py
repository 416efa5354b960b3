"""The predictor's wiring: a body → the batcher's answer → a prediction on the log."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import StreamingResponse
from starlette.responses import Response

from schemas.events import ModelStateChanged
from services.predictor.chat import CHAT, ChatBody, ChatRefusal, Conversation, refusal
from services.predictor.desk import Asked, Desk
from services.predictor.requests import PREDICT, PredictAnswer, ServedModel
from shared.errors import LearnbackError
from shared.http.body import read_json
from shared.http.documentation import REFUSALS, document, takes
from shared.http.express import Express
from shared.http.keys import bearer
from shared.http.probes import probes
from shared.http.problems import problem_of, refusals
from shared.http.validation import validate
from shared.identity import ApiKey

DESCRIPTION = "Answers of each model's champion, or canary. An answer comes from exactly one version and says which."

EVENT_STREAM, JSON = "text/event-stream", "application/json"
STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The answer; asked to `stream`, server-sent events.", "content": {EVENT_STREAM: {}}}
}
NOT_SERVED = REFUSALS | {404: {**REFUSALS[422], "description": "No model of that name serves here."}}
ANSWERS = NOT_SERVED | STREAMED
CHAT_ANSWERS = STREAMED | {
    status: {"description": told["description"], "model": ChatRefusal} for status, told in NOT_SERVED.items()
}


def create_app(desk: Desk) -> FastAPI:
    """The app; its lifespan keeps the log, the batcher and the follower running."""

    @contextlib.asynccontextmanager
    async def prepare(_: FastAPI) -> AsyncIterator[None]:
        async with desk.log.running():
            running = desk.batcher.run, desk.talker.run, desk.follow, desk.keep_deployed
            tasks = [asyncio.create_task(run()) for run in running]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                await desk.close()

    app = Express(title="Learnback predictor", description=DESCRIPTION, lifespan=prepare, redirect_slashes=False)
    app.include_router(probes(lambda: desk.ready))
    refuse = refusals(app)
    document(app)
    ingest = bearer(desk.keyring, "ingest")

    async def post(request: Request) -> Response:
        key = ingest.of(request)
        body = validate(PREDICT, await read_json(request))
        if body.stream:
            return StreamingResponse(_events(desk, desk.settle(body, key)), media_type=EVENT_STREAM)
        answer = await desk.predict(body, key)
        return Response(answer.__pydantic_serializer__.to_json(answer), media_type=JSON)

    @app.post("/v1/predict", response_model=PredictAnswer, responses=ANSWERS, openapi_extra=takes(PREDICT))
    async def predict(request: Request, _: ApiKey = Depends(ingest)) -> Response:
        """Answer one input; with `stream`, as server-sent events while the answer is made."""
        return await post(request)

    app.fast("/v1/predict", post, refuse)

    @app.post("/v1/chat/completions", responses=CHAT_ANSWERS, openapi_extra=takes(CHAT))
    async def chat(request: Request) -> Response:
        """Answer in the shape of OpenAI's chat completions; refusals have its shape too."""
        try:
            key = ingest.of(request)
            body = validate(CHAT, await read_json(request))
            asked = desk.settle(body.asked(), key)
            if body.stream:
                return StreamingResponse(_chunks(desk, asked, body), media_type=EVENT_STREAM)
            return Response(Conversation(body).whole(await desk.predict(asked.body, key)), media_type=JSON)
        except LearnbackError as error:
            return refusal(problem_of(error))

    @app.get("/v1/models", responses=REFUSALS)
    async def models(key: ApiKey = Depends(ingest)) -> list[ServedModel]:  # noqa: ARG001  (the key is the check)
        """List the models that answer."""
        return [_told(state, desk.serving.refused(model)) for model, state in sorted(desk.serving.champions.items())]

    return app


def _told(state: ModelStateChanged, refused: str | None) -> ServedModel:
    return ServedModel(model=state.model, task=state.task, base=state.base, version=state.version, refused=refused)


async def _events(desk: Desk, asked: Asked) -> AsyncGenerator[str, None]:
    """An answer as server-sent events: `text` for each piece, then `answer` once it is durable, or `problem`."""
    given = ""
    try:
        async with contextlib.aclosing(desk.stream(asked)) as telling:
            async for told in telling:
                text = told.answer.output
                if len(text) > len(given):
                    yield _event("text", {"text": text[len(given) :]})
                given = text
        yield _event("answer", (await desk.keep(asked, told)).model_dump())
    except LearnbackError as error:
        yield _event("problem", problem_of(error).model_dump())


async def _chunks(desk: Desk, asked: Asked, body: ChatBody) -> AsyncGenerator[str, None]:
    """The same in OpenAI's shape: the last chunk says why it ended, once the answer is durable."""
    conversation = Conversation(body)
    try:
        async with contextlib.aclosing(desk.stream(asked)) as telling:
            async for told in telling:
                for chunk in conversation.pieces(asked.prediction_id, told.answer.output):
                    yield f"data: {chunk}\n\n"
        yield f"data: {conversation.end(await desk.keep(asked, told))}\n\n"
        yield "data: [DONE]\n\n"
    except LearnbackError as error:
        yield f"data: {bytes(refusal(problem_of(error)).body).decode()}\n\n"


def _event(name: str, told: dict[str, object]) -> str:
    return f"event: {name}\ndata: {json.dumps(told, ensure_ascii=False)}\n\n"
