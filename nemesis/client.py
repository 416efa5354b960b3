"""The clients: they send the story at a rate, repeat, contradict themselves, insist or give up; all is noted."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import aiohttp

from nemesis.history import History, Outcome, Unit
from nemesis.poison import BODIES, Poisoner
from nemesis.story import Item, Story, answer_of

REPEATED = 0.3  # of what was accepted is sent again on purpose, so that more than a fifth of all attempts are repeats
REPEATS_S = 60.0
TWICE = 0.02  # is sent twice at once, by an impatient client
CONFLICTING = 0.003
GIVEN_UP = 0.2  # of what was refused is never sent again: nothing of it may be found
POISONED = 0.005  # of all attempts over HTTP, and as much around the collector
QUESTIONS_PER_S = 4.0
SINGLE, MOST = 0.3, 20  # the share of requests with one event, and the most in a list
TIMEOUT_S = 6.0
TICK_S = 0.02
CATCH_UP_S = 5.0  # how much of an outage is made up for at once
AT_ONCE = 96
UNAVAILABLE = frozenset({HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS})


@dataclass
class Counts:
    """What the clients did so far."""

    attempts: int = 0
    repeats: int = 0
    poison: int = 0
    unknown: int = 0
    accepted: set[str] = field(default_factory=set)
    statuses: Counter[str] = field(default_factory=Counter)


class Clients:
    """All clients of one app, on one event loop."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        urls: tuple[str, str],
        history: History,
        story: Story,
        poisoner: Poisoner,
        chance: random.Random,
        rate: float,
    ) -> None:
        """`urls` are the collector's and the predictor's; `rate` is events tried a second, repeats included."""
        self._http, self._history, self._story, self._poisoner = http, history, story, poisoner
        self._collector, self._predictor = urls
        self._chance, self._rate = chance, rate
        self._due: list[tuple[float, int, Item]] = []
        self._order = itertools.count()
        self._unsure: set[Unit] = set()  # somebody may have it: insist until an answer comes
        self._room = asyncio.Semaphore(AT_ONCE)
        self.counts = Counts()
        self._model = ""

    async def play(self, model: str, until: asyncio.Event) -> None:
        """Send until told to stop, then insist on an answer for everything that nobody knows of."""
        self._model = model
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(self._ask(tasks))
            allowed, last = 0.0, time.monotonic()
            while not until.is_set():
                await asyncio.sleep(TICK_S)
                now = time.monotonic()
                allowed = min(allowed + (now - last) * self._rate, self._rate * CATCH_UP_S)
                last = now
                while allowed >= 1:
                    items = self._next(now)
                    await self._room.acquire()
                    tasks.create_task(self._send(items))
                    allowed -= len(items)
                self._poison(tasks)
            asking.cancel()

    async def settle(self, timeout_s: float) -> int:
        """Insist until every attempt that nobody knows of has an answer; returns how many have none in time."""
        deadline = time.monotonic() + timeout_s
        items = {item.unit: item for _, _, item in self._due if item.unit in self._unsure}
        while items and time.monotonic() < deadline:
            async with asyncio.TaskGroup() as tasks:
                for part in _parts(list(items.values())):
                    await self._room.acquire()
                    tasks.create_task(self._send(part))
            items = {unit: item for unit, item in items.items() if unit in self._unsure}
        self._poisoner.flush()
        return len(items)

    def _next(self, now: float) -> list[Item]:
        """What goes into one request: what is due, else something new."""
        size = 1 if self._chance.random() < SINGLE else self._chance.randint(2, MOST)
        items: dict[str, Item] = {}
        later: list[tuple[float, int, Item]] = []
        while len(items) < size and len(later) < MOST:
            if not self._due or self._due[0][0] > now:
                for after, item in self._story.next():
                    self._schedule(now + after, item)
                    if self._chance.random() < TWICE:
                        self._schedule(now + after, item)
            entry = heapq.heappop(self._due)
            route = next(iter(items.values())).route if items else entry[2].route
            if entry[2].route == route and entry[2].unit.id not in items and entry[0] <= now:
                items[entry[2].unit.id] = entry[2]
            else:
                later.append(entry)
        for entry in later:
            heapq.heappush(self._due, entry)
        return list(items.values())

    def _schedule(self, at: float, item: Item) -> None:
        heapq.heappush(self._due, (at, next(self._order), item))

    async def _send(self, items: Sequence[Item]) -> None:
        try:
            self.counts.attempts += len(items)
            self.counts.repeats += sum(item.unit.id in self.counts.accepted for item in items)
            bodies = [item.body for item in items]
            number = self._history.begin([item.unit for item in items], time.time())
            status, answer = await self._post(self._collector + items[0].route, bodies if len(items) > 1 else bodies[0])
            outcomes = outcomes_of(status, answer, len(items))
            self._history.end(number, outcomes, time.time())
            for item, outcome in zip(items, outcomes, strict=True):
                self._follow_up(item, outcome)
        finally:
            self._room.release()

    def _follow_up(self, item: Item, outcome: Outcome) -> None:
        """Repeat, contradict, insist or give up."""
        self.counts.statuses[f"{outcome.status} {outcome.http or ''}".strip()] += 1
        now = time.monotonic()
        if item.unit.kind == "conflict":
            return  # once: it may be refused, or accepted and put aside
        if outcome.status == "ok":
            self._unsure.discard(item.unit)
            self.counts.accepted.add(item.unit.id)
            if self._chance.random() < REPEATED:
                self._schedule(now + self._chance.uniform(0, REPEATS_S), item)
            if self._chance.random() < CONFLICTING:
                self._schedule(now + self._chance.uniform(0, REPEATS_S), self._story.conflicting(item))
        elif outcome.status == "info":
            self.counts.unknown += item.unit not in self._unsure
            self._unsure.add(item.unit)
            self._schedule(now + self._chance.uniform(0.5, 3), item)
        elif outcome.http is not None and outcome.http not in UNAVAILABLE:
            self._unsure.discard(item.unit)  # a definite no: a conflicting content is known under this id
        elif item.unit in self._unsure or self._chance.random() >= GIVEN_UP:
            self._schedule(now + self._chance.uniform(0.5, 3), item)

    async def _post(self, url: str, body: Any, raw: bytes | None = None) -> tuple[int | str, Any]:
        """The status and the body of the answer; `refused` or `unknown` instead of a status when there is none."""
        sent: dict[str, Any] = {"json": body} if raw is None else {"data": raw}
        try:
            async with self._http.post(url, **sent) as response:
                return response.status, await response.json(content_type=None)
        except aiohttp.ClientConnectorError:
            return "refused", None  # no connection: not a byte was sent
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return "unknown", None

    def _poison(self, tasks: asyncio.TaskGroup) -> None:
        """Bad bodies through the collector, and bad records around it."""
        self._poisoner.poll()
        share = POISONED * self._rate * TICK_S
        if self._chance.random() < share:
            tasks.create_task(self._bad())
        if self._chance.random() < share:
            self._poisoner.put()
            self.counts.poison += 1

    async def _bad(self) -> None:
        event_id = f"bad-{self._chance.randbytes(8).hex()}"
        raw = self._chance.choice(BODIES).replace(b"$ID", event_id.encode())
        number = self._history.begin([Unit(event_id, "bad", "bad")], time.time())
        status, answer = await self._post(f"{self._collector}/v1/feedback", None, raw)
        self._history.end(number, outcomes_of(status, answer, 1), time.time())
        self.counts.poison += 1

    async def _ask(self, tasks: asyncio.TaskGroup) -> None:
        """Questions for the predictor, and corrections of its answers."""
        while True:
            await asyncio.sleep(self._chance.expovariate(QUESTIONS_PER_S))
            await self._room.acquire()
            tasks.create_task(self._question())

    async def _question(self) -> None:
        prediction_id, row, user = self._story.question()
        body = {"prediction_id": prediction_id, "model": self._model, "input": row.text, "user": user}
        number = self._history.begin([answer_of(prediction_id, self._model, row.text)], time.time())
        try:
            status, answer = await self._post(f"{self._predictor}/v1/predict", body)
        finally:
            self._room.release()
        outcome = outcomes_of(status, answer, 1)[0]
        self._history.end(number, [outcome], time.time())
        self.counts.statuses[f"predict {outcome.status} {outcome.http or ''}".strip()] += 1
        if outcome.status == "ok" and (answer["solicit"] or answer["output"] != row.label):
            self._schedule(time.monotonic() + 0.5, self._story.correction(prediction_id, row.label, user))


def _parts(items: list[Item]) -> Iterator[list[Item]]:
    """The items in lists that one request can take."""
    for route in sorted({item.route for item in items}):
        mine = [item for item in items if item.route == route]
        for start in range(0, len(mine), MOST):
            yield mine[start : start + MOST]


def outcomes_of(status: int | str, answer: Any, count: int) -> list[Outcome]:
    """What an answer says about each item of a request."""
    if status == "refused":
        return [Outcome("fail")] * count
    if status == "unknown" or not isinstance(status, int):
        return [Outcome("info")] * count
    if status < 300:
        refused = {problem["event_index"]: Outcome("fail", problem["status"]) for problem in answer.get("errors", ())}
        receipts = iter(answer.get("event_ids") or [None] * count)
        return [refused.get(index) or Outcome("ok", status, next(receipts)) for index in range(count)]
    known = 400 <= status < 500 or status in UNAVAILABLE
    return [Outcome("fail" if known else "info", status)] * count
