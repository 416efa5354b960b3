"""A small world by chance, in which everything happens, and its log in any order that a recorder may meet."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal

from schemas.events import Event
from shared.policy import PolicyFile
from shared.topics import TOPIC_OF, key_of
from tests.unit.recorder_story import (
    ANN,
    BOB,
    DAN,
    EVE,
    Database,
    Decision,
    Value,
    added,
    crowned,
    decided,
    edited,
    erased,
    judged,
    policy,
    reviewed,
    said,
    served,
    trained,
)

TEXTS = ("hi there", "there, hi!", "Hi  there", "refund me", "me refund?", "card lost", "lost card", "x", "y", "z")
LABELS = ("a", "b", "new", "odd")
RULINGS: tuple[Literal["merge", "retire", "restore"], ...] = ("merge", "merge", "retire", "restore")
EDITS: tuple[Literal["add", "relabel", "retire"], ...] = ("add", "add", "relabel", "retire")
USERS = (ANN, BOB, EVE, DAN, None)
DAYS = (0, 0, 0, 1, 29, 30, 45)  # on both sides of what trust remembers


def some_policy(rng: random.Random) -> PolicyFile:
    """Limits so low that all of them are met."""
    return policy(
        window=rng.choice([2, 3, 1000]),
        two=rng.choice(["no", "names"]),
        user_cap=rng.choice([1, 2, 5]),
        new_label_users=rng.choice([2, 3]),
        quorum=rng.choice([1, 2]),
        burst_inputs=rng.choice([2, 3, 5]),
        burst_seconds=rng.choice([2, 600]),
        new_account_weight=rng.choice([1, 0.4]),
        new_account_hours=rng.choice([2, 5]) / 3600,
    )


def some_log(rng: random.Random, database: Database) -> list[Event]:
    """Twins, late votes, caps, new labels, reviews, versions, rollbacks, erasures."""
    events = [event for number in range(rng.randint(5, 40)) for event in _answered(rng, f"p{number}")]
    if rng.random() < 0.7:
        events.insert(0, added(database, [("x", "a"), ("refund me", "b")], [("card lost", "a")]))
    for text in rng.sample(TEXTS, rng.randint(0, 4)):
        decision: Decision = rng.choice(["accept", "reject", "relabel"])
        target = rng.choice(LABELS) if decision == "relabel" else None
        events.append(reviewed(text, decision, target, float(rng.randint(5, 30))))
    for text in rng.choices(TEXTS, k=rng.choice([0, 0, 1, 5])):
        edit = rng.choice(EDITS)
        target = None if edit == "retire" else rng.choice(LABELS)
        events.append(edited(text, edit, target, float(rng.randint(5, 30)), by=rng.choice(["rita", "omar"])))
    for label in rng.sample(LABELS, rng.choice([0, 0, 1, 3])):
        ruling = rng.choice(RULINGS)
        other = rng.choice([one for one in (*LABELS, "fresh") if one != label]) if ruling == "merge" else None
        events.append(decided(label, ruling, other, float(rng.randint(5, 30))))
    events += _increments(rng)
    return events + [erased(user, float(rng.randint(3, 20))) for user in rng.sample([ANN, BOB], rng.choice([0, 0, 1]))]


def _answered(rng: random.Random, key: str) -> Iterator[Event]:
    user, when = rng.choice(USERS), float(rng.randint(0, 15) + rng.choice(DAYS) * 24 * 3600)
    yield served(
        key,
        rng.choice(TEXTS),
        rng.choice(LABELS[:2]),
        when,
        user=user,
        solicit=rng.random() < 0.4,
        audit=rng.random() < 0.2,
        score=rng.choice([0.3, 0.99]),
        version=rng.choice(["v0", "v1", "foreign"]),
    )
    values: list[Value] = [*LABELS, "up", "down", 5, 1, ("a", "b")]
    for turn in range(rng.choice([0, 1, 1, 2])):
        by = rng.choice([user, rng.choice(USERS)])
        yield said(key, rng.choice(values), when + rng.randint(0, 3), user=by, name=f"-{turn}")


def _increments(rng: random.Random) -> Iterator[Event]:
    champion = None
    for number in range(rng.randint(0, 3)):
        version = f"v{number}"
        yield trained(version, champion, rng.sample(TEXTS, 4), rng.sample(LABELS, 3), 50.0 + number)
        yield judged(version, rng.sample(TEXTS, 3), 60.0 + number)
        if rng.random() < 0.7:
            yield crowned(version, champion, 70.0 + number)
            champion = version
    if champion == "v1":
        yield crowned("v0", "v1", 90.0)


def any_order(events: Sequence[Event], rng: random.Random) -> Iterator[list[Event]]:
    """Batches of the log: each partition in its own order, the partitions in any."""
    partitions: dict[tuple[str, int], list[Event]] = defaultdict(list)
    for event in reversed(events):
        topic = TOPIC_OF[type(event)]
        partitions[topic.name, sum(key_of(event).encode()) % topic.partitions].append(event)
    queues = [queue for _, queue in sorted(partitions.items())]
    while queues:
        batch: list[Event] = []
        for _ in range(rng.randint(1, 12)):
            if queues := [queue for queue in queues if queue]:
                batch += [rng.choice(queues).pop()]
        yield batch
