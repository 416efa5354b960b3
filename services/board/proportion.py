"""A share of right answers, with the n that it rests on and how sure that makes it."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

Z = NormalDist().inv_cdf(0.975)  # every band on the board is a 95 % band


@dataclass(frozen=True)
class Proportion:
    """`hits` of `n`. Without any n it is unknown: `value` is None and the band is all of [0, 1]."""

    hits: int
    n: int

    @property
    def value(self) -> float | None:
        """The share itself."""
        return self.hits / self.n if self.n else None

    @property
    def low(self) -> float:
        """Lower end of the band."""
        return self.band[0]

    @property
    def high(self) -> float:
        """Upper end of the band."""
        return self.band[1]

    @property
    def band(self) -> tuple[float, float]:
        """Wilson's score interval (JASA 22, 1927): right for few answers and near 0 and 1, where ±σ is not."""
        if not self.n:
            return 0.0, 1.0
        share = self.hits / self.n
        middle = share + Z**2 / (2 * self.n)
        reach = Z * sqrt(share * (1 - share) / self.n + Z**2 / (4 * self.n**2))
        scale = 1 + Z**2 / self.n
        return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)


@dataclass(frozen=True)
class Difference:
    """How much one share is above another, with its 95 % band."""

    value: float
    low: float
    high: float


def difference(before: Proportion, after: Proportion) -> Difference | None:
    """`after - before` of independent samples with Newcombe's hybrid score interval; None when either is empty.

    Source: Newcombe, Statistics in Medicine 17 (1998), method 10.
    """
    if before.value is None or after.value is None:
        return None
    value = after.value - before.value
    down = sqrt((after.value - after.low) ** 2 + (before.high - before.value) ** 2)
    up = sqrt((after.high - after.value) ** 2 + (before.value - before.low) ** 2)
    return Difference(value, value - down, value + up)
