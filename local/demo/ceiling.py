"""What the served answers are measured against: the first version, and one LoRA trained at once on all lessons.

A text that is asked for the first time was answered before it could teach anything, so the ceiling does not learn from
it either: its lessons are all train-side examples that the loop had, without those whose text is new in the test.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from local.layout import threads
from schemas.events import Task
from services.trainer.increment import train
from services.trainer.reports import Progress
from services.trainer.snapshot import Lesson, Snapshot
from shared.artifacts import ArtifactStore
from shared.datasets import Row
from shared.grading import same_output
from shared.lm import loading
from shared.policy import Training
from shared.tables import Example
from shared.text import example_id


@dataclass(frozen=True)
class Lessons:
    """Train-side examples and the inputs that their ids name."""

    lessons: tuple[Lesson, ...]
    texts: dict[str, str]


def lessons_of(engine: Engine, model: str, before: Sequence[Row], test: Sequence[Row]) -> Lessons:
    """All train-side examples of a model but those whose input is in the test and was not asked before it."""
    asked, tested = ({example_id(model, row.text) for row in rows} for rows in (before, test))
    fresh = tested - asked
    columns = select(Example.id, Example.target, Example.weight, Example.text)
    with Session(engine) as session:
        found = session.exec(columns.where(Example.model == model, Example.status == "train").order_by(col(Example.id)))
        rows = [row for row in found if row[0] not in fresh]
    lessons = tuple(Lesson(id=id, target=target, weight=weight) for id, target, weight, _ in rows if target)
    return Lessons(lessons, {id: text for id, _, _, text in rows})


def joint_accuracy(
    task: Task, base: str, taught: Lessons, test: Sequence[Row], config: Training, show: Callable[[Progress], None]
) -> float:
    """Accuracy on the test of one LoRA trained on everything at once, as a model's first version is."""
    snapshot = Snapshot(
        request_id="ceiling",
        model="ceiling",
        task=task,
        base=base,
        parent=None,
        parent_manifest=None,
        new=taught.lessons,
        replay=(),
        config=config,
    )
    with tempfile.TemporaryDirectory() as folder:
        train(loading.task(task, base, threads()), None, snapshot, taught.texts, show, Path(folder))
        return _accuracy(task, base, Path(folder), test)


def version_accuracy(task: Task, base: str, artifacts: ArtifactStore, version: str, test: Sequence[Row]) -> float:
    """Accuracy on the test of a version from the artifact store."""
    folder, _ = artifacts.get(f"versions/{version}")
    return _accuracy(task, base, folder, test)


def _accuracy(task: Task, base: str, folder: Path, test: Sequence[Row]) -> float:
    """The share of the test that files of a version answer rightly, each text as it is served."""
    made = loading.task(task, base, threads())
    made.load("asked", folder)
    answers = made.answer("asked", [row.text for row in test])
    return sum(same_output(answer.output, row.label) for answer, row in zip(answers, test, strict=True)) / len(test)
