"""Users of a whole installation, at an even pace: predictions of a foreign model, feedback on them, and questions.

What a killed service refuses is gone: this is load, and what becomes of each event is the nemesis's question.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from local.layout import HOST, Ports
from nemesis.story import Item, Story
from shared.datasets import Row

TICK_S = 0.05
QUESTIONS_PER_S = 2.0
LIST = 100  # events of one request while the log is filled


class Users:
    """They speak for one app. Not thread-safe."""

    def __init__(self, ports: Ports, key: str, model: str, rows: list[Row]) -> None:
        """`model` answers questions; predictions and feedback are of a foreign one."""
        self._ports, self._model = ports, model
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._story = Story(rows, uuid.uuid4().hex[:8], random.Random(1))
        self._connections: dict[str, http.client.HTTPConnection] = {}
        self.accepted = 0

    def fill(self, events: int) -> None:
        """Post so many events as fast as they are taken."""
        while self.accepted < events:
            self._say(LIST)

    @contextmanager
    def going_on(self, per_s: float) -> Iterator[None]:
        """While the block runs they send so many events a second."""
        over = threading.Event()
        thread = threading.Thread(target=self._go_on, args=(per_s, over))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def ask(self) -> bool:
        """Whether the predictor answers a question."""
        prediction_id, row, user = self._story.question()
        body = {"prediction_id": prediction_id, "model": self._model, "input": row.text, "user": user}
        return self._post("predictor", "/v1/predict", body) == http.client.OK

    def say(self) -> bool:
        """Whether the collector accepts a new event, durably."""
        _, item = self._story.next()[0]
        return self._post("collector", item.route, item.body) == http.client.ACCEPTED

    def _go_on(self, per_s: float, over: threading.Event) -> None:
        due, questions, last = 0.0, 0.0, time.monotonic()
        while not over.wait(TICK_S):
            now = time.monotonic()
            passed, last = min(now - last, 1.0), now  # an outage is not made up for
            due += passed * per_s
            questions += passed * QUESTIONS_PER_S
            due -= self._say(int(due))
            if questions >= 1:
                questions -= 1
                self.ask()

    def _say(self, count: int) -> int:
        """Send about so many events, in one list for each route; returns how many."""
        items: dict[str, list[Item]] = defaultdict(list)
        sent = 0
        while sent < count:
            for _, item in self._story.next():
                items[item.route].append(item)
                sent += 1
        for route, some in items.items():
            if self._post("collector", route, [item.body for item in some]) == http.client.ACCEPTED:
                self.accepted += len(some)
        return sent

    def _post(self, service: str, route: str, body: Any) -> int:
        """The status of the answer; 0 when there is none."""
        if service not in self._connections:
            self._connections[service] = http.client.HTTPConnection(HOST, self._ports.of(service), timeout=10)
        connection = self._connections[service]
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("POST", route, json.dumps(body), self._headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        connection.close()  # and connects again with the next request
        return 0
