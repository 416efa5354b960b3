"""What wrong feedback costs: a fifth of all votes flipped, and one user who lies in a hundredth of all events.

Votes go through the recorder's own curation (quorum, caps, guards) under the default policy, and what it makes lessons
of is learned at once, each by its weight. The champion is taken to be unsure of everything, so that the guard against
lies to a sure one gives no help. The person who added the model vouches for the first rows of each label.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import mean

from sqlmodel import Session, SQLModel

from bench.learning.course import Size, course
from bench.learning.line import BASE, MODEL, anew
from bench.learning.sequence import ranked, right
from bench.report import Figure, at_most
from schemas.events import (
    Correction,
    Dataset,
    Event,
    FeedbackReceived,
    LabelScore,
    ModelCard,
    PredictionServed,
    TrainingRequested,
)
from services.recorder.batch import Batch, record
from services.recorder.datasets import Imported
from services.trainer.selection import lessons, new_rows, texts_of
from shared.datasets import Row
from shared.lm.classification import Classification
from shared.policy import Policy, PolicyFile, Training
from shared.tables import open_database
from shared.text import short_hash

FLIPPED, LYING = 0.2, 0.01
VOTERS, USERS = 3, 600
VOUCHED = 5  # rows of each label
BATCH = 2_000
_START = datetime(2026, 1, 1, tzinfo=UTC)
_STEP = timedelta(seconds=20)
_EVERYTHING = 10**6


@dataclass(frozen=True)
class Vote:
    """What one user says of one input."""

    row: Row
    user: str


@dataclass(frozen=True)
class Spoiled:
    """Accuracies in % after clean votes, flipped ones and those with a liar; and of the liar's targets, how many fell.

    `fell` is the share in % of test rows of the attacked label that get the liar's, less that after clean votes.
    """

    clean: float
    flipped: float
    lied: float
    fell: float

    def __str__(self) -> str:
        """For who waits."""
        return (
            f"{self.clean:.1f} % clean, {self.flipped:.1f} % flipped, {self.lied:.1f} % with lies ({self.fell:+.1f} %)"
        )


def noise(data: Path, seed: int, size: Size, config: Training) -> Spoiled:
    """Learn from the same inputs three times."""
    chance = random.Random(seed)
    given = course("shuffled", seed, size, data)
    vouched, others = _split(given.everything)
    labels = sorted({row.label for row in vouched})
    victim, wanted = chance.sample(labels, 2)
    attacked = [row for row in others if row.label == victim]
    honest = [row for row in others if row.label != victim]
    votes = [Vote(row, _user(chance)) for row in honest for _ in range(VOTERS)]
    lies = [
        Vote(Row(text=row.text, label=wanted), short_hash("liar"))
        for row in _cycled(attacked, round(LYING * len(votes)))
    ]
    flipped = [Vote(_flipped(vote.row, labels, chance), vote.user) for vote in votes]
    task = Classification(BASE)
    found = [_learned(task, vouched, some, given.test, config) for some in (votes, flipped, votes + lies)]
    accuracy = [100 * right(one, given.test) for one in found]
    fell = [_share(one, given.test, victim, wanted) for one in found]
    return Spoiled(accuracy[0], accuracy[1], accuracy[2], fell[2] - fell[0])


def figures(found: Sequence[Spoiled]) -> list[Figure]:
    """The table's lines, means over seeds."""
    lost = [one.clean - one.flipped for one in found]
    fell = [one.fell for one in found]
    clean = mean(one.clean for one in found)
    return [
        Figure(
            "a fifth of all votes flipped, 3 voters an input: accuracy lost",
            mean(lost),
            "points",
            at_most(2.0),
            (min(lost), max(lost)),
            {"without flips, accuracy in %": clean},
        ),
        Figure(
            "one user with 1 % of the events: targets flipped", mean(fell), "%", at_most(5.0), (min(fell), max(fell))
        ),
    ]


def _split(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """The first rows of each label, and the others."""
    vouched: dict[str, list[Row]] = {}
    others: list[Row] = []
    for row in rows:
        first = vouched.setdefault(row.label, [])
        (first if len(first) < VOUCHED else others).append(row)
    return [row for some in vouched.values() for row in some], others


def _cycled(rows: Sequence[Row], count: int) -> list[Row]:
    """As many inputs, made distinct where there are too few."""
    return [
        Row(text=f"{rows[number % len(rows)].text}{' again' * (number // len(rows))}", label=rows[0].label)
        for number in range(count)
    ]


def _flipped(row: Row, labels: Sequence[str], chance: random.Random) -> Row:
    if chance.random() >= FLIPPED:
        return row
    return Row(text=row.text, label=chance.choice([label for label in labels if label != row.label]))


def _user(chance: random.Random) -> str:
    return short_hash(f"user {chance.randrange(USERS)}")


def _share(found: Sequence[Sequence[str]], test: Sequence[Row], victim: str, wanted: str) -> float:
    """Of the test rows of one label, how many get another, in %."""
    return 100 * mean(labels[0] == wanted for labels, row in zip(found, test, strict=True) if row.label == victim)


def _learned(
    task: Classification, vouched: Sequence[Row], votes: Sequence[Vote], test: Sequence[Row], config: Training
) -> list[list[str]]:
    """What a model that learned from these votes says to the test."""
    policies = PolicyFile(defaults=Policy(training=config.model_copy(update={"max_new": _EVERYTHING})))
    engine = open_database("sqlite://")
    SQLModel.metadata.create_all(engine)
    card = _card()
    events: list[Event] = [card, *(event for number, vote in enumerate(votes) for event in _said(number, vote))]
    for start in range(0, len(events), BATCH):
        with engine.connect() as connection:
            batch = Batch(
                events=tuple(events[start : start + BATCH]), datasets={card.event_id: Imported(tuple(vouched))}
            )
            record(connection, batch, policies)
            connection.commit()
    with Session(engine) as session:
        learned = lessons(new_rows(session, MODEL, policies.defaults))
        texts = texts_of(session, [lesson.id for lesson in learned])
    engine.dispose()
    with tempfile.TemporaryDirectory(prefix="learnback-bench-") as name:
        anew(task, learned, texts, config, Path(name) / "version")
        return ranked(task, Path(name) / "version", test)


def _card() -> TrainingRequested:
    return TrainingRequested(
        event_id="card",
        occurred_at=_START,
        source="bench",
        request_id="card",
        model=MODEL,
        trigger="added",
        requested_by="bench",
        card=ModelCard(task="classification", base=BASE, examples=Dataset(uri="bench", sha256="0" * 64, rows=1)),
    )


def _said(number: int, vote: Vote) -> Iterator[PredictionServed | FeedbackReceived]:
    """An answer that is no use, and what its user says is right."""
    moment = _START + number * _STEP
    yield PredictionServed(
        event_id=f"p{number}",
        occurred_at=moment,
        source="bench",
        prediction_id=f"prediction-{number}",
        model=MODEL,
        version="v0",
        input=vote.row.text,
        output="oos",
        scores=(LabelScore(label="oos", score=0.4),),
        solicit=False,
        solicit_rate=0.0,
        app="shop",
        user_key=vote.user,
    )
    yield FeedbackReceived(
        event_id=f"f{number}",
        occurred_at=moment + timedelta(seconds=1),
        source="bench",
        prediction_id=f"prediction-{number}",
        feedback=Correction(value=vote.row.label),
        app="shop",
        user_key=vote.user,
    )
