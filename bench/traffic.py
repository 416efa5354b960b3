"""Made-up traffic for the recorder: predictions, and what their users say of them, in the order of time.

Half of the events are predictions and half are feedback on them, by 1,000 users who ask about ten things a day each.
Nine inputs of ten are new; the others were asked shortly before, as the question of the day is. A tenth of the answers
is solicited. Event times run ahead of the clock: two million events are a hundred days, so that
users stay within their daily cap and every vote has to be judged.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from schemas.events import Correction, Event, FeedbackReceived, LabelScore, PredictionServed, Thumbs
from shared.text import short_hash

USERS = 1_000
PER_USER_AND_DAY = 10
REPEATED = 0.1  # share of inputs that were asked before
RECENT = 2_000  # inputs that are in the air
SOLICITED = 0.1
RIGHT = 0.7  # share of served labels that the user agrees with
THUMBS = 0.25  # share of feedback that only taps
NUMBERED = 0.05  # share of inputs that name a number: of an order, of a flat
LETTERS = str.maketrans("0123456789", "ghijklmnop")
WORDS = tuple(short_hash(f"word {number}")[: 3 + number % 7].translate(LETTERS) for number in range(5_000))
LABELS = tuple(f"{WORDS[number]} {WORDS[number + 50]}" for number in range(50))
START = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(days=1) / (USERS * PER_USER_AND_DAY)  # between two predictions


@dataclass
class Traffic:
    """An endless stream of events, equal for equal seeds."""

    seed: int = 1
    model: str = "support-intent"
    made: int = 0
    rng: random.Random = field(init=False)
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=RECENT))

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def take(self, events: int) -> list[Event]:
        """The next events, predictions and feedback in turn."""
        return [event for _ in range(events // 2) for event in self._answered()]

    def _answered(self) -> Iterator[Event]:
        rng = self.rng
        at = START + self.made * STEP
        self.made += 1
        text = rng.choice(self.recent) if self.recent and rng.random() < REPEATED else _words(rng)
        self.recent.append(text)
        right = LABELS[hash_of(text) % len(LABELS)]
        served = right if rng.random() < RIGHT else rng.choice(LABELS)
        user = short_hash(f"user {rng.randrange(USERS)}")
        key = self._id(at)
        score = round(rng.uniform(0.3, 0.97), 4)
        yield PredictionServed(
            event_id=self._id(at),
            occurred_at=at,
            source="predictor",
            prediction_id=key,
            model=self.model,
            version="v0",
            input=text,
            output=served,
            scores=(LabelScore(label=served, score=score), LabelScore(label=rng.choice(LABELS), score=1 - score)),
            solicit=rng.random() < SOLICITED,
            solicit_rate=SOLICITED,
            app="shop",
            user_key=user,
        )
        tapped = rng.random() < THUMBS
        yield FeedbackReceived(
            event_id=self._id(at + STEP / 2),
            occurred_at=at + STEP / 2,
            source="collector",
            prediction_id=key,
            feedback=Thumbs(value="up" if served == right else "down") if tapped else Correction(value=right),
            app="shop",
            user_key=user,
        )

    def _id(self, at: datetime) -> str:
        """A UUIDv7 of the event's time, as `shared.ids.new_id` makes it of the clock's."""
        bits = int(at.timestamp() * 1000) << 80 | 7 << 76 | self.rng.getrandbits(76)
        return f"{bits:032x}"


def hash_of(text: str) -> int:
    """A number that depends on the text alone (Python's own hash differs in each process)."""
    return int(short_hash(text)[:8], 16)


def _words(rng: random.Random) -> str:
    words = rng.choices(WORDS, k=rng.randint(5, 14))
    return " ".join([*words, str(rng.randrange(10**6))] if rng.random() < NUMBERED else words)
