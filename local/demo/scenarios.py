"""What the demo can play: a task and its base, the texts, how much is asked, and how users who know better speak."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.events import Task
from shared.datasets import Row

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Scenario:
    """One story that the demo can play. `last` predictions at either end are what the report compares."""

    task: Task
    base: str
    data: Path
    policy: Path
    predictions: int
    rate: float
    at_once: int  # unanswered questions; a predictor that is slower than the users makes them wait
    patience: float  # seconds that users wait for an answer
    news_after: float  # share of the questions before new kinds come
    last: int
    correct: float  # share of those who report an error that say what is right; the others show a thumb down
    mistake: Callable[[Row, Sequence[str], random.Random], str]  # what a user who is mistaken calls right

    @property
    def fewest(self) -> int:
        """Predictions below which the two ends would meet."""
        return 2 * self.last


def kind_of(row: Row, task: Task) -> str:
    """What kind of question it is: its label, or the `intent` of a right output that is a JSON object with one."""
    if task == "classification":
        return row.label
    try:
        said = json.loads(row.label)
    except ValueError:
        return ""
    return str(said.get("intent", "")) if isinstance(said, dict) else ""


def other_label(row: Row, labels: Sequence[str], chance: random.Random) -> str:
    """Another label."""
    return chance.choice([label for label in labels if label != row.label])


def other_intent(row: Row, intents: Sequence[str], chance: random.Random) -> str:
    """The right output with another intent."""
    said = json.loads(row.label)
    return json.dumps({**said, "intent": chance.choice([one for one in intents if one != said["intent"]])})


INTENT = Scenario(
    task="classification",
    base="all-MiniLM-L6-v2",
    data=FOLDER / "data",
    policy=FOLDER / "learnback.toml",
    predictions=10_000,
    rate=31.0,
    at_once=64,
    patience=10.0,
    news_after=0.5,
    last=1000,
    correct=0.5,
    mistake=other_label,
)
EXTRACT = Scenario(
    task="generation",
    base="SmolLM2-135M-Instruct",
    data=FOLDER / "data" / "extract",
    policy=FOLDER / "extract.toml",
    predictions=430,
    rate=0.5,
    at_once=16,
    patience=60.0,
    news_after=0.25,  # an increment and its verdict take three minutes: the rest is time for three of them
    last=80,
    correct=0.8,
    mistake=other_intent,
)
SCENARIOS = {"intent": INTENT, "extract": EXTRACT}
