"""What the routes work with: a body → what was drawn for it → an answer → a prediction on the log."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import structlog
from prometheus_client import Histogram

from schemas.events import MAX_OUTPUT, ModelStateChanged, PredictionServed
from services.predictor.answers import Answer, Question
from services.predictor.batching import Batcher
from services.predictor.requests import PredictAnswer, PredictBody
from services.predictor.serving import Serving
from services.predictor.talking import Talker, Told
from shared.envelope import sealed
from shared.errors import UnavailableError, UnknownModelError
from shared.identity import ApiKey, Keyring, user_key
from shared.ids import new_id
from shared.log import Log
from shared.policy import PolicyFile

NOTHING = " "  # what is recorded where a version says nothing: an output holds at least one character
PREDICT_SECONDS = Histogram("learnback_predict_seconds", "From the body to the durable prediction", ["model"])
KEEP_S = 2.0  # how often servers are looked at
News = Callable[[], AsyncGenerator[list[ModelStateChanged], None]]

log = structlog.get_logger()


@dataclass(frozen=True)
class Asked:
    """A request, and what was settled of it before its answer."""

    body: PredictBody
    question: Question
    prediction_id: str
    app: str
    user: str | None
    solicit: bool
    solicit_rate: float
    audit: bool
    audit_rate: float


@dataclass
class Desk:
    """What the route works with; the fields are the test seams."""

    serving: Serving
    batcher: Batcher
    talker: Talker
    log: Log
    keyring: Keyring
    policies: PolicyFile
    news: News
    chance: random.Random = field(default_factory=random.SystemRandom)
    followed: bool = False
    postponed: dict[tuple[str, str], ModelStateChanged] = field(default_factory=dict)  # by model and alias
    _heeding: asyncio.Lock = field(default_factory=asyncio.Lock)

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
        asked = self.settle(body, key)
        with self._timed(body.model):
            return await self.keep(asked, await self._answer(asked))

    async def stream(self, asked: Asked) -> AsyncGenerator[Told, None]:
        """An answer while it is made. What is told last is not durable yet: `keep` it before saying that it is over.

        Raises:
            UnavailableError, UnknownModelError: as `predict`.
        """
        if not self.serving.talks(asked.body.model):
            yield Told(await self.batcher.answer(asked.question), "stop")
            return
        if deployed := self.serving.deployed(asked.question):
            deployer, one = deployed
            async with contextlib.aclosing(deployer.talk(one)) as answering:
                async for text, finish in answering:
                    yield Told(Answer(asked.body.model, one.version, text), finish)
            return
        async with contextlib.aclosing(self.talker.talk(asked.question)) as telling:
            async for told in telling:
                yield told

    def settle(self, body: PredictBody, key: ApiKey) -> Asked:
        """What is drawn and chosen before anybody knows the answer.

        Raises:
            UnavailableError: the models are not known yet.
            UnknownModelError: the model has no champion.
        """
        if not self.followed:
            raise UnavailableError("It is not known yet which models there are; try again.")
        rules = self.policies.of(body.model).serving
        solicit, audit = (self.chance.random() < rate for rate in (rules.solicit_rate, rules.audit_rate))
        if body.model not in self.serving.champions:
            if any(model == body.model for model, _ in self.postponed):
                raise UnavailableError(f"What {body.model} answers with is away for now; try again.")
            raise UnknownModelError(body.model)
        prediction_id = body.prediction_id or new_id()
        user = None if body.user is None else user_key(self.keyring.secret, key.app, body.user)
        stops = tuple(body.stop)
        question = Question(body.model, user or prediction_id, body.input, rules.top_k, body.max_tokens, stops)
        drawn = (solicit, rules.solicit_rate, audit, rules.audit_rate)
        return Asked(body, question, prediction_id, key.app, user, *drawn)

    async def keep(self, asked: Asked, told: Told) -> PredictAnswer:
        """Make an answer durable; it can be given when this returns.

        Raises:
            UnavailableError: Kafka does not confirm.
        """
        answer = told.answer
        served = _served(asked, answer)
        await self.log.append([sealed(served, self.log.instance)])
        return PredictAnswer(
            prediction_id=served.prediction_id,
            model=answer.model,
            version=answer.version,
            output=served.output,
            scores=list(answer.scores),
            solicit=asked.solicit,
            finish=told.finish or "stop",
        )

    async def _answer(self, asked: Asked) -> Told:
        """What is told at the end."""
        if not self.serving.talks(asked.body.model):
            return Told(await self.batcher.answer(asked.question), "stop")
        return [told async for told in self.stream(asked)][-1]

    def _timed(self, model: str) -> contextlib.AbstractContextManager[object]:
        return PREDICT_SECONDS.labels(model if model in self.serving.champions else "unknown").time()

    async def follow(self) -> None:
        """Whenever a champion or canary changes: load it beside those that answer, and switch."""
        async with contextlib.aclosing(self.news()) as news:
            async for states in news:
                for state in states:
                    await self._heed(state)
                self.followed = True

    async def keep_deployed(self) -> None:
        """Again and again: what waits for a server is tried anew, and servers get what they lack."""
        while True:
            await asyncio.sleep(KEEP_S)
            for state in tuple(self.postponed.values()):
                await self._heed(state, anew=True)
            if self.followed:
                for deployer in self.serving.deployers.values():
                    await asyncio.to_thread(deployer.reconcile)

    async def close(self) -> None:
        """End the threads after the work in hand, and close the connections to servers."""
        self.batcher.close()
        for deployer in self.serving.deployers.values():
            await deployer.close()

    async def _heed(self, state: ModelStateChanged, anew: bool = False) -> None:
        """Prepare and switch; what cannot be prepared as its server is away waits, unless newer news have come."""
        alias = state.model, state.alias
        async with self._heeding:
            if anew and self.postponed.get(alias) is not state:
                return
            try:
                ready = await self.batcher.beside(partial(self.serving.prepare, state))
            except UnavailableError as error:
                log.warning("swap_postponed", model=state.model, version=state.version, reason=str(error))
                self.postponed[alias] = state
                return
            self.postponed.pop(alias, None)
            if ready:
                self.serving.switch(ready)


def _served(asked: Asked, answer: Answer) -> PredictionServed:
    return PredictionServed(
        event_id=new_id(),
        occurred_at=datetime.now(UTC),
        source="predictor",
        prediction_id=asked.prediction_id,
        model=answer.model,
        version=answer.version,
        input=asked.body.input,
        output=answer.output[:MAX_OUTPUT] or NOTHING,
        scores=answer.scores,
        solicit=asked.solicit,
        solicit_rate=asked.solicit_rate,
        audit=asked.audit if asked.audit_rate else None,
        audit_rate=asked.audit_rate or None,
        app=asked.app,
        user_key=asked.user,
        tags=asked.body.tags,
    )
