"""One model's line as the trainer sees it: a database of lessons, the champion, and the next version from them.

The trainer's own desk chooses from SQL, and its own training follows; the bench stands for who writes the rows
(recorder) and who promotes every candidate (evaluator).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple

from sqlalchemy import Engine, insert, update
from sqlmodel import Session, SQLModel, col

from bench.learning.said import Said, rows_of
from schemas.events import Dataset, ModelCard, ModelStateChanged, TrainingRequested
from services.trainer.desk import Desk
from services.trainer.increment import train
from services.trainer.snapshot import Lesson, Snapshot
from shared.datasets import Row
from shared.lm.task import Task
from shared.policy import Policy, PolicyFile, Training
from shared.tables import Example, ModelRow, Request, StateChange, Version, open_database
from shared.text import example_id, short_hash

BASE = "all-MiniLM-L6-v2"
MODEL = "bench"
_START = datetime(2026, 1, 1, tzinfo=UTC)
_DIGEST = "0" * 64


class Kind(NamedTuple):
    """What a model does, and on which base."""

    task: Literal["classification", "generation"]
    base: str


CLASSIFIER = Kind("classification", BASE)


@dataclass
class Line:
    """A model, and what it has learned so far."""

    folder: Path
    task: Task
    config: Training = field(default_factory=Training)
    replays: bool = True
    kind: Kind = CLASSIFIER
    engine: Engine = field(init=False)
    champion: ModelStateChanged | None = None
    labels: tuple[str, ...] = ()
    _given: int = 0
    _asked: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.engine = open_database(f"sqlite:///{self.folder / 'learnback.db'}")
        SQLModel.metadata.create_all(self.engine)
        with Session(self.engine) as session:
            session.add(ModelRow(name=MODEL, **self.kind._asdict(), added_at=_START))
            session.commit()

    @property
    def files(self) -> Path:
        """The champion's files."""
        assert self.champion, "nothing was learned yet"
        return self.folder / self.champion.version

    @property
    def desk(self) -> Desk:
        """The trainer's desk, which knows the champion of now."""
        policies = PolicyFile(defaults=Policy(training=self.config))
        states = {(MODEL, "champion"): self.champion} if self.champion else {}
        return Desk(self.engine, policies, lambda: states, self.folder / "choices")

    def give(self, rows: Sequence[Row], learned_in: str | None = None) -> None:
        """Write lessons as the recorder would: new ones, or such as a version has learned."""
        with Session(self.engine) as session:
            session.execute(insert(Example), [self._example(row, learned_in) for row in rows])
            session.commit()

    def hear(self, said: Sequence[Said]) -> None:
        """Write what users said of the champion's answers, as the recorder would."""
        assert self.champion, "nothing has answered yet"
        with Session(self.engine) as session:
            session.add_all(rows_of(said, MODEL, self.champion.version, _START))
            session.commit()

    def learn(self) -> None:
        """Make the next version from what is new, and promote it."""
        snapshot, texts = self.choose()
        self.make(snapshot, texts)
        self.promote(snapshot)

    def choose(self) -> tuple[Snapshot, dict[str, str]]:
        """What the next version learns from: the trainer's own choice."""
        request = self._request()
        snapshot, texts = self.desk.prepare(request, request.request_id)
        return (snapshot if self.replays else snapshot.model_copy(update={"replay": ()})), texts

    def make(self, snapshot: Snapshot, texts: dict[str, str]) -> None:
        """Train and write the files."""
        output = self.folder / snapshot.version
        output.mkdir()
        parent = self.files if snapshot.parent else None
        self.labels = train(self.task, parent, snapshot, texts, lambda _: None, output).labels

    def promote(self, snapshot: Snapshot) -> None:
        """Make a version the champion, and its lessons learned ones."""
        moment = _START + timedelta(days=1)
        state = ModelStateChanged(
            event_id=short_hash("state", snapshot.version),
            occurred_at=moment,
            source="bench",
            model=MODEL,
            alias="champion",
            task=snapshot.task,
            base=snapshot.base,
            version=snapshot.version,
            previous=snapshot.parent,
            manifest_sha256=_DIGEST,
            decision=snapshot.request_id,
            reason="the bench promotes every candidate",
        )
        learned = update(Example).where(col(Example.learned_in).is_(None)).values(learned_in=snapshot.version)
        with Session(self.engine) as session:
            session.add_all(_recorded(state, snapshot, self.labels))
            session.execute(learned)
            session.commit()
        self.champion = state

    def _request(self) -> TrainingRequested:
        self._asked += 1
        name = f"request-{self._asked}"
        card = ModelCard(**self.kind._asdict(), examples=Dataset(uri="bench", sha256=_DIGEST, rows=1))
        request = TrainingRequested(
            event_id=name,
            occurred_at=_START,
            source="bench",
            request_id=name,
            model=MODEL,
            trigger="examples",
            requested_by="bench",
            card=None if self.champion else card,
        )
        with Session(self.engine) as session:
            session.add(
                Request(
                    request_id=name,
                    event_id=name,
                    model=MODEL,
                    trigger="examples",
                    detail="",
                    requested_by="bench",
                    occurred_at=_START,
                )
            )
            session.commit()
        return request

    def _example(self, row: Row, learned_in: str | None) -> dict[str, object]:
        self._given += 1
        key = example_id(MODEL, row.text)
        return {
            "id": key,
            "model": MODEL,
            "text": row.text,
            "origin": "feedback",
            "side": "train",
            "status": "train",
            "target": row.label,
            "weight": 1.0,
            "votes": 1,
            "first_at": _START + timedelta(seconds=self._given),
            "first_event": f"f-{key}",
            "learned_in": learned_in,
        }


def joint(task: Task, rows: Sequence[Row], config: Training, output: Path, kind: Kind = CLASSIFIER) -> int:
    """A first version from all rows at once, what training anew is with our own trainer; how many rows it passed."""
    lessons = {
        example_id(MODEL, row.text): Lesson(id=example_id(MODEL, row.text), target=row.label, weight=1.0)
        for row in rows
    }
    texts = {example_id(MODEL, row.text): row.text for row in rows}
    return anew(task, tuple(lessons.values()), texts, config, output, kind)


def anew(
    task: Task,
    lessons: tuple[Lesson, ...],
    texts: Mapping[str, str],
    config: Training,
    output: Path,
    kind: Kind = CLASSIFIER,
) -> int:
    """A first version from these lessons; how many rows were passed, each as often as it was learned from."""
    snapshot = Snapshot(
        request_id="anew",
        model=MODEL,
        task=kind.task,
        base=kind.base,
        parent=None,
        parent_manifest=None,
        new=lessons,
        replay=(),
        config=config,
    )
    output.mkdir(parents=True, exist_ok=True)
    return train(task, None, snapshot, texts, lambda _: None, output).rows


def _recorded(state: ModelStateChanged, snapshot: Snapshot, labels: Sequence[str]) -> Iterable[SQLModel]:
    """What the recorder would write of a candidate and of its promotion."""
    yield StateChange(**state.model_dump(exclude={"source", "task", "base", "type"}))
    yield Version(
        version=snapshot.version,
        event_id=short_hash("candidate", snapshot.version),
        model=MODEL,
        number=0,
        parent=snapshot.parent,
        request_id=snapshot.request_id,
        trigger="examples",
        requested_by="bench",
        manifest_sha256=_DIGEST,
        labels=list(labels),
        replayed=len(snapshot.replay),
        steps=0,
        train_seconds=0.0,
        examples_per_s=0.0,
        dev_score=None,
        step_size=None,
        occurred_at=state.occurred_at,
    )
