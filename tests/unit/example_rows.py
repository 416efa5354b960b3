"""Rows of the `example` table for tests of those who read it, and what a query on them costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, event
from sqlmodel import Session, SQLModel

from shared.tables import Example, FeedbackRow, open_database
from shared.text import short_hash
from tests.unit.recorder_story import MODEL, at

STEPS = 10  # SQLite tells of every tenth instruction


def example(number: int, target: str | None = "a", **given: Any) -> Example:
    """An example that is to be learned, but for what is given. Its id is a hash, as the recorder's are."""
    facts: dict[str, Any] = {
        "origin": "feedback",
        "side": "train",
        "status": "train",
        "weight": 0.5,
        "first_at": at(number),
        "model": MODEL,
        **given,
    }
    text = f"text {number}"
    return Example(id=short_hash(facts["model"], text), text=text, target=target, **facts)


def correction(of: Example, solicited: bool = False) -> FeedbackRow:
    """Somebody said that the answer to an example's input was wrong, and what is right."""
    return FeedbackRow(
        event_id=f"f {of.id}",
        prediction_id=f"p {of.id}",
        kind="correction",
        value=of.target,
        app="shop",
        user_key=None,
        occurred_at=of.first_at,
        model=of.model,
        example_id=of.id,
        solicited=solicited,
        wrong=True,
        further=True,
    )


@contextmanager
def database(examples: Iterable[SQLModel]) -> Iterator[Session]:
    """A database in memory that holds the examples."""
    engine = open_database("sqlite://")
    SQLModel.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(examples)
        session.commit()
        yield session
    engine.dispose()


def engine_of(session: Session) -> Engine:
    """The engine of a database in memory: the same connection, in the same thread."""
    engine = session.get_bind()
    assert isinstance(engine, Engine)
    return engine


@dataclass
class Cost:
    """What some work made SQLite do."""

    statements: list[str] = field(default_factory=list)
    instructions: int = 0


def cost(session: Session, work: Callable[[], object]) -> Cost:
    """Do the work and count."""
    spent = Cost()
    raw: Any = session.connection().connection.driver_connection

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        spent.statements.append(statement)

    def tick() -> int:
        spent.instructions += STEPS
        return 0

    event.listen(session.get_bind(), "before_cursor_execute", note)
    raw.set_progress_handler(tick, STEPS)
    work()
    raw.set_progress_handler(None, 0)
    event.remove(session.get_bind(), "before_cursor_execute", note)
    return spent
