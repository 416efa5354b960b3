"""One way to learn, through a whole course: what each increment cost, and what was known after it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean

from bench.learning.course import Course
from bench.learning.jobs import Clock
from bench.learning.line import BASE, Line, joint
from bench.learning.outcomes import ALL, JOINT, KNOWN, OURS, Learned, Retrained, Transfer
from shared.datasets import Row
from shared.lm.classification import Classification
from shared.lm.task import Task
from shared.policy import Training

ASKED = "asked"


def go_through(way: str, given: Course, config: Training) -> Learned:
    """Learn a course in increments, with replay or without it; ask for each group of labels when it has come."""
    task = Classification(BASE)
    with tempfile.TemporaryDirectory(prefix="learnback-bench-") as name:
        line = Line(Path(name), task, config, replays=way == OURS)

        def learn(number: int, clock: Clock) -> Path:
            line.give(given.increments[number])
            with clock.running():
                line.learn()
            return line.files

        return _learned(way, task, given, range(len(given.increments)), learn)


def train_anew(given: Course, config: Training, each: bool) -> Learned:
    """Train anew on all lessons so far after each increment, or on all there are after the last one alone."""
    task, last = Classification(BASE), len(given.increments) - 1
    with tempfile.TemporaryDirectory(prefix="learnback-bench-") as name:

        def learn(number: int, clock: Clock) -> Path:
            files = Path(name) / f"joint-{number}"
            with clock.running():
                joint(task, given.everything[: sum(map(len, given.increments[: number + 1]))], config, files)
            return files

        return _learned(JOINT, task, given, range(0 if each else last, last + 1), learn)


def _learned(
    way: str, task: Classification, given: Course, numbers: range, learn: Callable[[int, Clock], Path]
) -> Learned:
    """What comes of learning at each of these increments, timed by the clock that `learn` is given."""
    cpu_s, after = [], []
    for number in numbers:
        clock = Clock()
        files = learn(number, clock)
        cpu_s.append(clock.seconds)
        if given.grows and number < numbers[-1]:
            after.append(ranked(task, files, given.tested(number)))
    end = ranked(task, files, given.test)
    return Learned(way, tuple(cpu_s), right(end, given.test) * 100, _transfers(given, after, end), task.encoder.bf16)


def from_base(given: Course, config: Training) -> Retrained:
    """Learn everything at once, as a model's first version does."""
    task, clock = Classification(BASE), Clock()
    with tempfile.TemporaryDirectory(prefix="learnback-bench-") as name:
        with clock.running():
            passes = joint(task, given.everything, config, Path(name) / "joint")
        found = ranked(task, Path(name) / "joint", given.test)
    return Retrained(clock.seconds, 100 * right(found, given.test), passes)


def ranked(task: Task, files: Path, rows: Sequence[Row]) -> list[list[str]]:
    """Each row's labels as a version ranks them, the best first."""
    task.load(ASKED, files)
    try:
        answers = task.answer(ASKED, [row.text for row in rows], top_k=10**6)
    finally:
        task.drop(ASKED)
    return [[score.label for score in answer.scores] for answer in answers]


def right(found: Sequence[Sequence[str]], rows: Sequence[Row], among: frozenset[str] | None = None) -> float:
    """The share of rows whose best label, or best of some labels, is the right one."""
    best = (next((one for one in labels if among is None or one in among), None) for labels in found)
    return mean(label == row.label for label, row in zip(best, rows, strict=True))


def _transfers(given: Course, after: Sequence[list[list[str]]], end: Sequence[list[str]]) -> dict[str, Transfer]:
    """From each group's answers when it came, and the answers to the whole test at the end."""
    if not after:
        return {}
    changes: dict[str, list[float]] = {ALL: [], KNOWN: []}
    for group, then in enumerate(after):
        rows = given.tested(group)
        now = [found for found, row in zip(end, given.test, strict=True) if row.label in given.groups[group]]
        for reading, among in ((ALL, None), (KNOWN, given.known(group))):
            changes[reading].append(100 * (right(now, rows, among) - right(then, rows, among)))
    return {reading: Transfer(tuple(points)) for reading, points in changes.items()}
