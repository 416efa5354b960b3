"""Counted outcomes as figures: a share in %, with its 95 % interval, a bar, and what others came to beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from bench.report import Bar, Figure
from services.board.proportion import Proportion, Z


@dataclass(frozen=True)
class Count:
    """So many of so many."""

    hits: int
    of: int

    @property
    def percent(self) -> float:
        """The share in %."""
        return 100 * self.hits / self.of

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval in %."""
        low, high = Proportion(self.hits, self.of).band
        return 100 * low, 100 * high

    def exceeds(self, share: float, errors: float = 3.0) -> bool:
        """Whether so many are more than a true share would bring, but for chance: by so many standard errors."""
        return self.hits / self.of > share + errors * sqrt(share * (1 - share) / self.of)


def share(name: str, count: Count, bar: Bar | None = None, peers: Mapping[str, float | None] | None = None) -> Figure:
    """A share as a figure."""
    return Figure(f"{name} ({count.hits:,} of {count.of:,})", count.percent, "%", bar, count.interval, peers or {})


def average(
    name: str, values: Sequence[float], unit: str, bar: Bar | None = None, peers: Mapping[str, float] | None = None
) -> Figure:
    """A mean as a figure, with its 95 % interval."""
    middle = fmean(values)
    reach = Z * stdev(values) / sqrt(len(values))
    return Figure(name, middle, unit, bar, (middle - reach, middle + reach), peers or {})
