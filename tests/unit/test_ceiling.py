"""The demo's ceiling learns from what the loop had, and never from a text that the test asks for the first time."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlmodel import Session, SQLModel

from local.demo.ceiling import joint_accuracy, lessons_of
from services.trainer.increment import FIRST
from shared.datasets import Row
from shared.policy import Training
from shared.tables import Example, open_database
from shared.text import example_id

ROWS = [
    Row(text=text, label=label)
    for label, texts in {
        "refund": ["give me my money back", "i want a refund", "please return my money", "refund this order"],
        "weather": ["will it rain today", "how is the weather", "is it sunny outside", "what is the forecast"],
    }.items()
    for text in texts
]


def example(row: Row, status: str = "train") -> Example:
    return Example(
        id=example_id("m", row.text),
        model="m",
        text=row.text,
        origin="feedback",
        side="train",
        status=status,
        target=row.label,
        weight=1.0,
        first_at=datetime.now(UTC),
    )


def test_a_text_that_is_new_in_the_test_teaches_nothing() -> None:
    engine = open_database("sqlite://")
    SQLModel.metadata.create_all(engine)
    first, again, fresh, doubtful = ROWS[:4]
    with Session(engine) as session:
        session.add_all([example(first), example(again), example(fresh), example(doubtful, "quarantined")])
        session.commit()
    taught = lessons_of(engine, "m", before=[first, again], test=[again, fresh])
    assert {taught.texts[lesson.id] for lesson in taught.lessons} == {first.text, again.text}
    assert lessons_of(engine, "other", [], []).lessons == ()
    engine.dispose()


def test_joint_training_learns_what_it_is_taught() -> None:
    engine = open_database("sqlite://")
    SQLModel.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([example(row) for row in ROWS])
        session.commit()
    steps: list[int] = []
    test = [Row(text="money back please", label="refund"), Row(text="rain or sun today", label="weather")]
    taught = lessons_of(engine, "m", [], test)
    reached = joint_accuracy(
        "classification", "all-MiniLM-L6-v2", taught, test, Training(plateau=0), lambda now: steps.append(now.step)
    )
    assert reached == 1.0
    assert steps[-1] == FIRST[True], "a step each pass, as all fit into a batch"
    engine.dispose()
