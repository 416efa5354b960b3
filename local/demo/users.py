"""The demo's simulated users: they ask, and some of them say what they think of the answer, through the client."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from learnback import AsyncClient, LearnbackError, Prediction, Stats

from local.demo.scenarios import INTENT, Scenario
from local.demo.story import Story
from shared.datasets import Row
from shared.grading import same_output

PEOPLE = 600  # with fewer of them the daily cap on what one user may teach would bind, as it should
WRONG_SHARE = 0.03  # of all right outputs that users give
REPORTED_ERRORS, REPORTED_SUCCESSES = 0.6, 0.05  # of the answers that nobody asked about
THINKS_S = (0.2, 2.0)  # from the answer to the feedback
DRAIN_S = 60.0


@dataclass(frozen=True)
class Saying:
    """What a user says of one answer."""

    correction: str | None = None
    thumbs: str | None = None


@dataclass
class Traffic:
    """What came of the users' questions, in the order in which they were asked; None where no answer came."""

    answers: list[Prediction | None]
    rows: tuple[Row, ...]
    said: list[str] = field(default_factory=list)
    stats: Stats = field(default_factory=lambda: Stats(0, 0, 0, 0, 0))
    asked: int = 0
    seconds: float = 0.0

    @property
    def failed(self) -> int:
        """Questions that got no answer."""
        return sum(answer is None for answer in self.answers[: self.asked])

    @property
    def versions(self) -> list[str]:
        """The versions that answered, in the order of their first answers."""
        return list(dict.fromkeys(answer.version for answer in self.answers if answer))

    def accuracy(self, first: int, last: int) -> float:
        """The share of right answers among the questions from one to before another; no answer is not right."""
        part = slice(max(0, first), last)
        pairs = list(zip(self.answers[part], self.rows[part], strict=True))
        right = sum(answer is not None and same_output(answer.output, row.label) for answer, row in pairs)
        return right / max(1, len(pairs))


def opinion(
    answer: Prediction, row: Row, labels: list[str], chance: random.Random, scenario: Scenario = INTENT
) -> Saying | None:
    """What a user who knows the right output says of an answer: always something when asked, else as they please."""
    given = scenario.mistake(row, labels, chance) if chance.random() < WRONG_SHARE else row.label
    if answer.solicit:
        return Saying(correction=given)
    if same_output(answer.output, row.label):
        return Saying(thumbs="up") if chance.random() < REPORTED_SUCCESSES else None
    if chance.random() >= REPORTED_ERRORS:
        return None
    return Saying(correction=given) if chance.random() < scenario.correct else Saying(thumbs="down")


Opinion = Callable[[Prediction, Row, list[str], random.Random], Saying | None]


def _of(scenario: Scenario) -> Opinion:
    return partial(opinion, scenario=scenario)


class Users:
    """The users of one app, and the app itself: it asks the predictor, and posts what they say to the collector."""

    def __init__(
        self,
        client: AsyncClient,
        model: str,
        story: Story,
        seed: int,
        show: Callable[[Traffic], None] = lambda _: None,
        opinion: Opinion | None = None,
    ) -> None:
        """`show` is told of the traffic after each answer; `opinion` is what users say, if not the scenario's."""
        self._client, self._model, self._story, self._seed = client, model, story, seed
        self._show, self._opinion = show, opinion or _of(story.scenario)
        self._traffic = Traffic([None] * len(story.stream), story.stream)
        self._room = asyncio.Semaphore(story.scenario.at_once)

    async def play(self, rate: float) -> Traffic:
        """Ask every question, `rate` of them a second at the most, and deliver all feedback."""
        traffic, start = self._traffic, time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for index in range(len(self._story.stream)):
                await asyncio.sleep(max(0.0, start + index / rate - time.monotonic()))
                await self._room.acquire()
                tasks.create_task(self._ask(index))
                traffic.asked = index + 1
        await self._client.flush(DRAIN_S)
        traffic.stats, traffic.seconds = self._client.stats, time.monotonic() - start
        return traffic

    async def _ask(self, index: int) -> None:
        row, chance = self._story.stream[index], random.Random(f"{self._seed}/{index}")
        user = f"user-{chance.randrange(PEOPLE)}"
        try:
            answer = await self._client.predict(
                self._model, row.text, prediction_id=f"{self._model}-{index:06}", user=user
            )
        except LearnbackError:
            return
        finally:
            self._room.release()
        self._traffic.answers[index] = answer
        self._show(self._traffic)
        saying = self._opinion(answer, row, self._story.labels_at(index), chance)
        if saying is not None:
            await asyncio.sleep(chance.uniform(*THINKS_S))
            self._traffic.said.append(await self._say(answer, saying, user))

    async def _say(self, answer: Prediction, saying: Saying, user: str) -> str:
        if saying.correction is not None:
            return await self._client.correction(answer.prediction_id, saying.correction, user=user)
        return await self._client.thumbs(answer.prediction_id, "up" if saying.thumbs == "up" else "down", user=user)
