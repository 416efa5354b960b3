"""What an increment costs when its model has learned 2,000 examples, and when it has learned 200,000.

Both begin with the same champion, and learn the same new examples: the trainer's desk chooses from SQL, freezes the
snapshot and looks up the events that it goes back to, and then it trains. The history is CLINC150's texts, each with
the number of an order, so that no two are the same input, and each with a user's correction.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from sqlalchemy import insert
from sqlmodel import Session

from bench.learning.course import Course, Size, shots
from bench.learning.jobs import Clock
from bench.learning.line import BASE, MODEL, Line
from bench.learning.said import correction
from bench.report import Figure, at_most
from shared.datasets import Row
from shared.lm.classification import Classification
from shared.policy import Training
from shared.tables import FeedbackRow

SHORT = 2_000  # examples
NEW = 100
BATCH = 10_000


class Increment(NamedTuple):
    """CPU seconds of one increment: to choose what is learned, and to learn it."""

    choice_s: float
    training_s: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.choice_s + self.training_s


Turns = Sequence[tuple[Increment, Increment]]


def growth(data: Path, size: Size, config: Training, long: int, turns: int) -> Turns:
    """An increment after `SHORT` examples and one after `long`, by turns, of a model that began with so much."""
    given = shots(0, size, data)
    task = Classification(BASE)
    with tempfile.TemporaryDirectory(prefix="learnback-bench-") as name:
        lines = [_line(Path(name) / str(length), task, given, config, length) for length in (SHORT, long)]
        return [(_increment(lines[0]), _increment(lines[1])) for _ in range(turns)]


def figures(found: Turns, long: int) -> list[Figure]:
    """The table's lines."""
    ratios = [after.seconds / before.seconds for before, after in found]
    return [
        _told(f"an increment after {SHORT:,} examples: CPU time", [before.seconds for before, _ in found]),
        _told(f"… after {long:,}", [after.seconds for _, after in found]),
        Figure("… of that after the fewer", median(ratios), "×", at_most(1.15), (min(ratios), max(ratios))),
        _told(f"… of which to choose, after {SHORT:,}", [before.choice_s for before, _ in found]),
        _told(f"… to choose, after {long:,}", [after.choice_s for _, after in found]),
    ]


def _told(name: str, seconds: Sequence[float]) -> Figure:
    return Figure(name, median(seconds), "s", None, (min(seconds), max(seconds)))


def _line(folder: Path, task: Classification, given: Course, config: Training, length: int) -> Line:
    """A champion that has learned so many examples, and new ones for it."""
    line = Line(folder, task, config.model_copy(update={"seed_epochs": 1}))  # what it knows does not matter here
    rows = given.everything
    line.give(rows[NEW:])
    line.learn()
    history = [
        Row(text=f"order {number}: {rows[number % len(rows)].text}", label=rows[number % len(rows)].label)
        for number in range(length)
    ]
    for start in range(0, length, BATCH):
        part = history[start : start + BATCH]
        line.give(part, line.files.name)
        with Session(line.engine) as session:
            session.execute(insert(FeedbackRow), [correction(MODEL, row, line.files.name) for row in part])
            session.commit()
    line.give(rows[:NEW])
    return line


def _increment(line: Line) -> Increment:
    """What the same increment costs, each time anew: its version is not promoted."""
    choice, training = Clock(), Clock()
    with choice.running():
        snapshot, texts = line.choose()
        line.desk.origins(snapshot)
    with training.running():
        line.make(snapshot, texts)
    return Increment(choice.seconds, training.seconds)
