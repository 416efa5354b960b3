"""What thumbs and preferences bring to a model that writes: exact match before and after one increment from them.

A lightly trained version answers texts that it has not learned. A user who knows the right output likes an answer that
is right and dislikes another; one who sees a wrong answer prefers the right output to it. What they said goes into SQL
as the recorder writes it, and the trainer's own desk chooses from it; the version's lessons are replayed beside it, and
replaying them alone shows what that does. The tests are the same rows before and after, so that the 95 % interval of
the gain is of paired differences, by the bootstrap.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, quantiles

from bench.learning.line import Kind, Line
from bench.learning.said import Said
from bench.report import Figure
from shared.datasets import Row
from shared.grading import same_output
from shared.lm.generation import Generation
from shared.policy import Training

DRAWS = 4_000
THUMBS, PAIRS, ALONE = "thumbs", "pairs", "replay alone"
TESTED = "tested"


@dataclass(frozen=True)
class Survey:
    """How much a version learns first, of how many texts it is asked for opinions, and how it learns from them."""

    lessons: int
    asked: int
    pairs: int
    tests: int
    first: Training
    then: Training


@dataclass(frozen=True)
class Gained:
    """Which tests a version got right before and after an increment from some opinions."""

    opinions: int
    before: Sequence[bool]
    after: Sequence[bool]

    @property
    def points(self) -> list[float]:
        """The gain on each test."""
        return [100.0 * (now - then) for now, then in zip(self.after, self.before, strict=True)]

    def interval(self) -> tuple[float, float]:
        """The mean gain's 95 % interval: percentiles of the means of rows drawn again."""
        chance, points = random.Random(0), self.points
        means = [mean(chance.choices(points, k=len(points))) for _ in range(DRAWS)]
        cut = quantiles(means, n=40)
        return cut[0], cut[-1]


def ask(rows: Sequence[Row], tests: Sequence[Row], plan: Survey, kind: Kind) -> dict[str, Gained]:
    """Teach a version the first rows, ask it the others, and let it learn from what users think of its answers."""
    task = Generation(kind.base)
    with tempfile.TemporaryDirectory(prefix="learnback-bench-") as name:
        line = Line(Path(name), task, plan.first, kind=kind)
        line.give(rows[: plan.lessons])
        line.learn()
        before = right(task, line.files, tests)
        line.config = plan.then
        asked = rows[plan.lessons : plan.lessons + plan.asked]
        line.hear(said_of(asked, answers(task, line.files, asked), plan.pairs))
        chosen, texts = line.choose()
        found = {}
        for way, left_out in ((THUMBS, ("pairs",)), (PAIRS, ("thumbs",)), (ALONE, ("pairs", "thumbs"))):
            snapshot = chosen.model_copy(update=dict.fromkeys(left_out, ()))
            line.make(snapshot, texts)
            found[way] = Gained(len(snapshot.opinions), before, right(task, line.folder / snapshot.version, tests))
    return found


def said_of(rows: Sequence[Row], outputs: Sequence[str], most: int) -> list[Said]:
    """What users say who know what is right: a thumb on every answer, and a preference against `most` wrong ones."""
    told = list(zip(rows, outputs, strict=True))
    thumbs = [Said(row.text, output, same_output(output, row.label)) for row, output in told]
    wrong = [(row, output) for row, output in told if not same_output(output, row.label)]
    return thumbs + [Said(row.text, output, row.label) for row, output in wrong[:most]]


def right(task: Generation, files: Path, rows: Sequence[Row]) -> list[bool]:
    """Which rows a version gets right."""
    task.load(TESTED, files)
    try:
        return task.right(TESTED, [row.text for row in rows], [row.label for row in rows])
    finally:
        task.drop(TESTED)


def answers(task: Generation, files: Path, rows: Sequence[Row]) -> list[str]:
    """What a version writes, up to half as many tokens more than the longest right answer has.

    One that has learned little rambles on until it is cut, which costs more than to teach it.
    """
    task.load(TESTED, files)
    longest = max(map(len, task.causal.completions([row.label for row in rows])))
    try:
        return task.causal.generate([row.text for row in rows], TESTED, longest * 3 // 2)
    finally:
        task.drop(TESTED)


def figures(found: dict[str, Gained]) -> list[Figure]:
    """The table's lines: a gain whose interval holds no 0 is one, and no other is shown to be."""
    alone = mean(found[ALONE].points)
    return [
        Figure(
            f"gain in exact match from {found[way].opinions} {way}",
            mean(found[way].points),
            "points",
            None,
            found[way].interval(),
            {"before": 100 * mean(found[way].before), ALONE: alone},
        )
        for way in (THUMBS, PAIRS)
    ]
