"""What an increment costs when its model has learned 2,000 examples, and when it has learned 200,000.

Both begin with the same champion, and learn the same new examples: the trainer's desk chooses from SQL and trains. The
history is CLINC150's texts, each with the number of an order, so that no two are the same input.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.learning.course import Course, Size, shots
from bench.learning.jobs import Clock
from bench.learning.line import BASE, Line
from bench.report import Figure, at_most
from shared.datasets import Row
from shared.lm.classification import Classification
from shared.policy import Training

SHORT, LONG = 2_000, 200_000  # examples
NEW = 100
FIRST = Size(rows=12)
BATCH = 10_000


def growth(data: Path, short: int, long: int, turns: int) -> list[tuple[float, float]]:
    """CPU seconds of an increment with a short history and with a long one, by turns."""
    given = shots(0, FIRST, data)
    task = Classification(BASE)
    with tempfile.TemporaryDirectory(prefix="learnback-bench-") as name:
        lines = [_line(Path(name) / str(length), task, given, length) for length in (short, long)]
        return [(_increment(lines[0]), _increment(lines[1])) for _ in range(turns)]


def figures(found: Sequence[tuple[float, float]], short: int, long: int) -> list[Figure]:
    """The table's lines."""
    ratios = [after / before for before, after in found]
    before, after = (sorted(times) for times in zip(*found, strict=True))
    return [
        Figure(f"an increment after {short:,} examples: CPU time", median(before), "s", None, (before[0], before[-1])),
        Figure(f"… after {long:,}", median(after), "s", None, (after[0], after[-1])),
        Figure("… of that after the fewer", median(ratios), "×", at_most(1.15), (min(ratios), max(ratios))),
    ]


def _line(folder: Path, task: Classification, given: Course, length: int) -> Line:
    """A champion that has learned so many examples, and new ones for it."""
    line = Line(folder, task, Training(seed_epochs=1))  # what it knows does not matter here
    rows = given.everything
    line.give(rows[NEW:])
    line.learn()
    history = [
        Row(text=f"order {number}: {rows[number % len(rows)].text}", label=rows[number % len(rows)].label)
        for number in range(length)
    ]
    for start in range(0, length, BATCH):
        line.give(history[start : start + BATCH], line.files.name)
    line.give(rows[:NEW])
    return line


def _increment(line: Line) -> float:
    """What the same increment costs, each time anew: its version is not promoted."""
    clock = Clock()
    with clock.running():
        snapshot, texts = line.choose()
        line.make(snapshot, texts)
    return clock.seconds
