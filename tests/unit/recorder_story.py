"""What tests of the recorder tell: events in one line each, and a database to record them in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Engine
from sqlmodel import Session, SQLModel, select

from schemas.events import (
    CandidateTrained,
    Correction,
    Dataset,
    Event,
    FeedbackReceived,
    LabelScore,
    ModelCard,
    ModelStateChanged,
    PredictionServed,
    Preference,
    PreferencePair,
    Rating,
    ReviewDecided,
    Task,
    Thumbs,
    TrainingRequested,
    UserErased,
    VerdictReached,
)
from services.recorder.batch import Batch, record
from services.recorder.datasets import Imported
from shared.datasets import Row
from shared.policy import Gate, People, Policy, PolicyFile, Trust
from shared.tables import Example, open_database
from shared.text import example_id, short_hash

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
MODEL, DIGEST = "m", "0" * 64
ANN, BOB, EVE, DAN = (f"{number:032x}" for number in range(1, 5))
Decision = Literal["accept", "reject", "relabel", "promote", "rollback", "hold"]


def policy(window: int = 3000, two: Literal["no", "names", "keys"] = "no", **trust: Any) -> PolicyFile:
    return PolicyFile(defaults=Policy(trust=Trust(**trust), gate=Gate(window=window), people=People(two=two)))


def in_memory() -> Engine:
    return open_database("sqlite://")


new_engine: Callable[[], Engine] = in_memory  # a story's next database; the fixture `everywhere` may give another one


@dataclass
class Database:
    """An empty database and the policy under which it records."""

    policies: PolicyFile = field(default_factory=policy)
    datasets: dict[str, Imported] = field(default_factory=dict)
    engine: Engine = field(default_factory=lambda: new_engine())

    def __post_init__(self) -> None:
        SQLModel.metadata.create_all(self.engine)

    def record(self, *events: Event) -> int:
        """Record events as one batch, as the worker does."""
        with self.engine.connect() as connection:
            recorded = record(connection, Batch(events=events, datasets=self.datasets), self.policies)
            connection.commit()
        return recorded.conflicts

    def rows(self, table: type[SQLModel]) -> list[Any]:
        with Session(self.engine) as session:
            return list(session.exec(select(table)).all())

    def example(self, text: str, model: str = MODEL) -> Example | None:
        with Session(self.engine) as session:
            return session.get(Example, example_id(model, text))

    def state(self, text: str) -> tuple[str, str, str, str | None] | None:
        """Side, status, reason and target of an input."""
        found = self.example(text)
        return (found.side, found.status, found.reason, found.target) if found else None


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def served(
    key: str,
    text: str,
    output: str = "a",
    when: float = 0,
    *,
    user: str | None = ANN,
    solicit: bool = False,
    audit: bool | None = None,
    score: float | None = 0.5,
    version: str = "v0",
    model: str = MODEL,
) -> PredictionServed:
    return PredictionServed(
        event_id=f"e-{key}",
        occurred_at=at(when),
        source="predictor",
        prediction_id=key,
        model=model,
        version=version,
        input=text,
        output=output,
        scores=() if score is None else (LabelScore(label=output, score=score),),
        solicit=solicit,
        audit=audit,
        app="shop",
        user_key=user,
    )


Value = str | int | tuple[str, str]  # a correction or a thumb, stars, or the better of two outputs and the other


def said(key: str, value: Value, when: float = 1, *, user: str | None = ANN, name: str = "") -> FeedbackReceived:
    feedback = (
        Rating(value=value)
        if isinstance(value, int)
        else Preference(value=PreferencePair(chosen=value[0], rejected=value[1]))
        if isinstance(value, tuple)
        else Thumbs(value=value)  # type: ignore[arg-type]
        if value in ("up", "down")
        else Correction(value=value)
    )
    return FeedbackReceived(
        event_id=f"f-{key}{name}",
        occurred_at=at(when),
        source="collector",
        prediction_id=key,
        feedback=feedback,
        app="shop",
        user_key=user,
    )


def corrected(
    key: str, text: str, target: str, when: float = 0, *, user: str | None = ANN, **more: Any
) -> tuple[PredictionServed, FeedbackReceived]:
    """A prediction and the correction that the same user gave a second later."""
    return served(key, text, when=when, user=user, **more), said(key, target, when + 1, user=user)


def reviewed(
    text: str, decision: Decision, target: str | None = None, when: float = 100, *, audit_of: str | None = None
) -> ReviewDecided:
    subject = example_id(MODEL, text)
    return ReviewDecided(
        event_id=f"rv-{subject[:8]}-{when}",
        occurred_at=at(when),
        source="collector",
        subject_kind="example",
        subject=subject,
        model=MODEL,
        decision=decision,
        target=target,
        prediction_id=audit_of,
        reviewer="rita",
    )


def edited(
    text: str,
    decision: Literal["add", "relabel", "retire"],
    target: str | None = None,
    when: float = 100,
    by: str = "rita",
    key: str = "office",
) -> ReviewDecided:
    """A reviewer's edit of the golden anchor."""
    subject = example_id(MODEL, text)
    return ReviewDecided(
        event_id=f"ra-{short_hash(text, decision, target or '-', by)[:12]}-{when}",
        occurred_at=at(when),
        source="collector",
        subject_kind="anchor",
        subject=subject,
        model=MODEL,
        decision=decision,
        text=text,
        target=target,
        reviewer=by,
        app=key,
    )


def decided(
    label: str, decision: Literal["merge", "retire", "restore"], target: str | None = None, when: float = 110
) -> ReviewDecided:
    """A reviewer's decision on a label."""
    return ReviewDecided(
        event_id=f"rl-{short_hash(label)[:8]}-{when}",
        occurred_at=at(when),
        source="collector",
        subject_kind="label",
        subject=short_hash("label", MODEL, label),
        model=MODEL,
        decision=decision,
        label=label,
        target=target,
        reviewer="rita",
    )


def erased(user: str, when: float = 200) -> UserErased:
    return UserErased(
        event_id=f"er-{user}-{when}", occurred_at=at(when), source="collector", user_key=user, requested_by="shop"
    )


def added(
    database: Database,
    seeds: Iterable[tuple[str, str]],
    anchors: Iterable[tuple[str, str]] = (),
    when: float = -10,
    task: Task = "classification",
) -> TrainingRequested:
    """A request with a card, whose datasets the database finds."""
    event = TrainingRequested(
        event_id=f"add-{when}",
        occurred_at=at(when),
        source="collector",
        request_id=f"r-add-{when}",
        model=MODEL,
        trigger="added",
        requested_by="rita",
        card=ModelCard(task=task, base="b", examples=Dataset(uri="datasets/x", sha256=DIGEST, rows=1)),
    )
    rows = [tuple(Row(text=text, label=label) for text, label in some) for some in (seeds, anchors)]
    database.datasets[event.event_id] = Imported(rows[0], rows[1])
    return event


def trained(
    version: str, parent: str | None = None, lessons: Sequence[str] = (), labels: Sequence[str] = (), when: float = 50
) -> CandidateTrained:
    return CandidateTrained(
        event_id=f"c-{version}",
        occurred_at=at(when),
        source="trainer",
        request_id=f"r-{version}",
        model=MODEL,
        task="classification",
        base="b",
        version=version,
        parent=parent,
        trigger="examples",
        requested_by="aggregator",
        manifest_sha256=DIGEST,
        labels=tuple(labels),
        lessons=tuple(example_id(MODEL, text) for text in lessons),
    )


def judged(candidate: str, fixes: Sequence[str] = (), when: float = 60) -> VerdictReached:
    return VerdictReached(
        event_id=f"v-{candidate}-{when}",
        occurred_at=at(when),
        source="evaluator",
        model=MODEL,
        candidate=candidate,
        outcome="promote",
        reason="better",
        fixes=tuple(example_id(MODEL, text) for text in fixes),
    )


def crowned(version: str, previous: str | None = None, when: float = 70) -> ModelStateChanged:
    return ModelStateChanged(
        event_id=f"s-{version}-{when}",
        occurred_at=at(when),
        source="evaluator",
        model=MODEL,
        alias="champion",
        task="classification",
        base="b",
        version=version,
        previous=previous,
        manifest_sha256=DIGEST,
        decision="d",
        reason="better",
    )
