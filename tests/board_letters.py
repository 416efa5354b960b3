"""A model that writes JSON, and what its users said: recorded by the recorder itself, for the board to show."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sqlalchemy import Engine

from schemas.events import ErrorSliceUpdated, Event
from tests.unit.recorder_story import (
    MODEL,
    Database,
    added,
    at,
    corrected,
    crowned,
    judged,
    policy,
    said,
    served,
    trained,
)

ASKED = "Order {n} was to come on Friday; please have it brought to 7 Main Street instead, and call me before."
LONG = "I am sorry to hear that. " * 60
DISPUTED, SPELT, OUTVOTED, DISLIKED = "dispute me", "spell me", "outvote me", "all wrong"


def answer(n: int, intent: str = "track_order") -> str:
    slots = {"order": str(n), "day": "Friday", "address": "7 Main Street", "note": "call before"}
    return json.dumps({"intent": intent, "slots": slots}, ensure_ascii=False)


def letters(engine: Engine) -> None:
    """Write the model's first hour: two versions, long corrections, a dispute, what was only called wrong."""
    database = Database(policy(user_cap=1000), engine=engine)
    database.record(added(database, [("first letter", answer(1))], task="generation"), trained("v0", when=-8))
    database.record(crowned("v0", when=-7), *_used("v0", 0), *_doubts())
    lessons = [ASKED.format(n=n) for n in range(0, 60, 3)]
    database.record(trained("v1", "v0", lessons, when=900), judged("v1", lessons, 905), crowned("v1", "v0", 910))
    database.record(*_used("v1", 1000), *_slices())


def _used(version: str, start: float) -> Iterator[Event]:
    """What a version answered, the second one better, and what users said of it."""
    for n in range(60):
        text, user, when = ASKED.format(n=n + start), f"{n % 20 + 8:032x}", start + n * 5
        wrong = n % 3 == 0 if version == "v0" else n % 12 == 0
        output = answer(n, "cancel_order" if wrong else "change_address")
        key = f"{version}-{n}"
        app = served(key, text, output, when, user=user, solicit=n % 4 == 0, score=None, version=version)
        yield app.model_copy(update={"tags": {"plan": "pro" if n % 2 else "free"}})
        if wrong or n % 4 == 0:
            yield said(key, answer(n, "change_address"), when + 2, user=user)


def _doubts() -> Iterator[Event]:
    """What waits for a person, and what looks as if it did."""
    users = [f"{n:032x}" for n in range(1, 5)]
    yield from corrected("d1", DISPUTED, answer(7), 20, user=users[0], output=LONG, score=None)
    yield from corrected("d2", DISPUTED, answer(8), 22, user=users[1], output=LONG, score=None)
    yield from corrected("s1", SPELT, answer(7), 24, user=users[0], score=None)
    yield from corrected("s2", SPELT, answer(7).replace('": ', '":'), 26, user=users[1], score=None)
    yield served("l1", DISLIKED, answer(9), 30, score=None)
    yield said("l1", "down", 31)
    for n, user in enumerate(users):
        yield from corrected(f"o{n}", OUTVOTED, LONG if n == 3 else answer(7), 32 + n, user=user, score=None)


def _slices() -> Iterator[Event]:
    for n, (name, wrong) in enumerate((("app=shop", 12), ("tag=plan:pro", 9), ("tag=plan:free", 3))):
        yield ErrorSliceUpdated(
            event_id=f"slice-{n}", occurred_at=at(1300), source="aggregator", model=MODEL, slice=name,
            bucket=at(1260), bucket_seconds=60, judged=30, wrong=wrong,
        )  # fmt: skip
