"""CLINC150 as lessons: a stream of increments, shuffled or with labels that come later, or a few rows of each label."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.examples import read_rows
from shared.datasets import Row
from shared.errors import BadInputError
from shared.text import normalise

DATA = Path(__file__).parents[3] / "shared" / "data" / "clinc150"


@dataclass(frozen=True)
class Course:
    """Increments of lessons, the test of all their labels, and the labels that came first with each increment."""

    increments: tuple[tuple[Row, ...], ...]
    test: tuple[Row, ...]
    groups: tuple[frozenset[str], ...]

    @property
    def everything(self) -> tuple[Row, ...]:
        """All lessons in the order in which they come."""
        return tuple(row for increment in self.increments for row in increment)

    @property
    def grows(self) -> bool:
        """Whether every increment brings labels that are new."""
        return all(self.groups)

    def known(self, number: int) -> frozenset[str]:
        """The labels that have come with an increment or before it."""
        return frozenset().union(*self.groups[: number + 1])

    def tested(self, group: int) -> list[Row]:
        """The test rows of the labels that came with an increment."""
        return [row for row in self.test if row.label in self.groups[group]]


@dataclass(frozen=True)
class Size:
    """How much of the data: so many labels, so many rows of each to learn and to test with; None is all."""

    labels: int | None = None
    rows: int | None = None
    tests: int | None = None
    increments: int = 10


def course(stream: str, seed: int, size: Size, folder: Path) -> Course:
    """Increments of equal size; the seed draws labels, rows and order.

    Raises:
        BadInputError: the data is not there.
    """
    chance = random.Random(seed)
    rows, test, labels = _drawn(size, chance, folder)
    chance.shuffle(labels)
    if stream == "shuffled":
        parts = [rows[start :: size.increments] for start in range(size.increments)]
    else:
        turns = [frozenset(labels[start :: size.increments]) for start in range(size.increments)]
        parts = [[row for row in rows if row.label in turn] for turn in turns]
    groups: list[frozenset[str]] = []
    for part in parts:
        groups.append(frozenset(row.label for row in part).difference(*groups))
    return Course(tuple(map(tuple, parts)), tuple(test), tuple(groups))


def shots(seed: int, size: Size, folder: Path) -> Course:
    """One lot of lessons: `size.rows` of each label."""
    return course("shuffled", seed, Size(size.labels, size.rows, size.tests, increments=1), folder)


def _drawn(size: Size, chance: random.Random, folder: Path) -> tuple[list[Row], list[Row], list[str]]:
    if not folder.is_dir():
        raise BadInputError("no_data", f"{folder} is missing: this bench reads CLINC150 there, train and test.jsonl.")
    train, test = (list(read_rows(folder / f"{name}.jsonl")) for name in ("train", "test"))
    train = list({normalise(row.text): row for row in train}.values())  # to us the same input is one lesson
    labels = sorted({row.label for row in train})
    labels = sorted(chance.sample(labels, size.labels)) if size.labels else labels
    rows = _few(train, labels, size.rows, chance)
    chance.shuffle(rows)
    return rows, _few(test, labels, size.tests, chance), labels


def _few(rows: Sequence[Row], labels: Sequence[str], count: int | None, chance: random.Random) -> list[Row]:
    by_label: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_label[row.label].append(row)
    return [
        row for label in labels for row in (by_label[label] if count is None else chance.sample(by_label[label], count))
    ]
