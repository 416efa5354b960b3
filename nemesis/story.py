"""What the clients say: predictions of a foreign model and feedback on them, in every order that users think of."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nemesis.history import Kind, Unit, digest_of
from shared.datasets import Row

FOREIGN = "foreign"  # a model that Learnback does not serve
PEOPLE = 5000
VARIANTS = 20_000  # of each text, so that most inputs are seen once, as in life
Json = dict[str, Any]


@dataclass(frozen=True)
class Item:
    """One event as a client sends it."""

    unit: Unit
    route: str
    body: Json


def said(event_id: str, route: str, body: Json, kind: Kind = "said") -> Item:
    """An item whose content is what its body says."""
    return Item(Unit(event_id, content_of(body), kind), route, {"event_id": event_id, **body})


def content_of(body: Json) -> str:
    """The digest of what an event says; equal for the body that was sent and for the row or letter that came of it."""
    if "input" in body:
        return digest_of(*(body[name] for name in ("prediction_id", "model", "version", "input", "output")))
    return digest_of(*(body[name] for name in ("prediction_id", "kind", "value")))


def answer_of(prediction_id: str, model: str, text: str) -> Unit:
    """What is asked of the predictor; its answer is known only afterwards."""
    return Unit(prediction_id, digest_of("answer", model, text), "answer")


class Story:
    """An endless one, the same for the same seed."""

    def __init__(self, rows: Sequence[Row], run: str, chance: random.Random) -> None:
        """`run` makes its ids unlike those of another run."""
        self._rows, self._run, self._chance = rows, run, chance
        self._labels = sorted({row.label for row in rows})
        self._count = 0

    def next(self) -> list[tuple[float, Item]]:
        """A prediction and perhaps feedback on it, each with the seconds after which it is sent."""
        self._count += 1
        name = f"{self._run}-{self._count}"
        asked = (0.0, self._prediction(name))
        order = self._chance.random()
        if order < 0.1:
            return [asked]
        heard = self._feedback(name)
        if order < 0.3:  # feedback first
            return [(self._chance.uniform(0.5, 10), asked[1]), (0.0, heard)]
        if order < 0.4:  # late
            return [asked, (self._chance.uniform(20, 60), heard)]
        return [asked, (self._chance.uniform(0, 4), heard)]

    def conflicting(self, item: Item) -> Item:
        """Another content under the same id."""
        body = {name: value for name, value in item.body.items() if name != "event_id"}
        changed = {"output": "another"} if "output" in body else {"kind": "correction", "value": "another"}
        return said(item.unit.id, item.route, {**body, **changed}, "conflict")

    def question(self) -> tuple[str, Row, str]:
        """An id, a text with its right label, and a user, for the predictor."""
        self._count += 1
        return f"ask-{self._run}-{self._count}", self._chance.choice(self._rows), self._user()

    def correction(self, prediction_id: str, label: str, user: str) -> Item:
        """What a user says of an answer."""
        body = {"prediction_id": prediction_id, "kind": "correction", "value": label, "user": user}
        return said(f"f-{prediction_id}", "/v1/feedback", body)

    def _prediction(self, name: str) -> Item:
        row = self._chance.choice(self._rows)
        body = {
            "prediction_id": f"p-{name}",
            "model": FOREIGN,
            "version": "v1",
            "input": f"{row.text} ({self._chance.randrange(VARIANTS)})",
            "output": self._chance.choice([row.label, self._chance.choice(self._labels)]),
            "solicit": self._chance.random() < 0.1,
            "solicit_rate": 0.1,
            "user": self._user(),
        }
        return said(f"e-{name}", "/v1/predictions", body)

    def _feedback(self, name: str) -> Item:
        kind = self._chance.choices(["correction", "thumbs", "rating", "comment"], [50, 35, 10, 5])[0]
        value: Any = {
            "correction": self._chance.choice(self._labels),
            "thumbs": self._chance.choice(["up", "down"]),
            "rating": self._chance.randint(1, 5),
            "comment": "a word on it",
        }[kind]
        body = {"prediction_id": f"p-{name}", "kind": kind, "value": value, "user": self._user()}
        return said(f"f-{name}", "/v1/feedback", body)

    def _user(self) -> str:
        return f"user-{self._chance.randrange(PEOPLE)}"
