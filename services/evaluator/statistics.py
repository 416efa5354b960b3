"""The tests of the gate, as pure functions of who was right on which row.

Paired rows: both versions answered the same inputs. A row where only the candidate is right is a gain, one where only
the champion is right a loss; rows on which they agree tell nothing about which is better.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from statistics import NormalDist

NORMAL = NormalDist()
ONE_SIDED_95 = NORMAL.inv_cdf(0.95)
PASS_90 = NORMAL.inv_cdf(0.90)


@dataclass(frozen=True)
class Paired:
    """Who was right on each row, and whose row it is (None: nobody identified, a person of its own)."""

    champion: tuple[bool, ...]
    candidate: tuple[bool, ...]
    users: tuple[str | None, ...]

    @property
    def n(self) -> int:
        """Rows."""
        return len(self.champion)

    @property
    def gains(self) -> int:
        """Rows that only the candidate gets right."""
        return sum(new and not old for old, new in zip(self.champion, self.candidate, strict=True))

    @property
    def losses(self) -> int:
        """Rows that only the champion gets right."""
        return sum(old and not new for old, new in zip(self.champion, self.candidate, strict=True))

    def swapped(self) -> Paired:
        """The same rows with the roles exchanged."""
        return Paired(self.candidate, self.champion, self.users)

    def by_user(self) -> tuple[int, int]:
        """Users with more gains than losses, and users with more losses than gains.

        Rows of one user are not independent; McNemar's test on rows would be anti-conservative. Each user's balance
        has the sign of a fair coin when the versions are equal, whatever binds the user's rows together.
        """
        balance: defaultdict[str, int] = defaultdict(int)
        for row, (old, new, user) in enumerate(zip(self.champion, self.candidate, self.users, strict=True)):
            balance[user if user is not None else f"#{row}"] += int(new) - int(old)
        return sum(sign > 0 for sign in balance.values()), sum(sign < 0 for sign in balance.values())


def accuracy(right: Sequence[bool]) -> float | None:
    """Share of rows that are right; None without rows."""
    return sum(right) / len(right) if right else None


def exact_p(better: int, worse: int) -> float:
    """One-sided exact McNemar test: P(Bin(better + worse, ½) ≥ better), the chance of it if both are equally good."""
    from scipy.special import bdtrc  # when first needed; scipy.stats has it too, in five times as long

    return float(bdtrc(better - 1, better + worse, 0.5))


def smallest_p(better: int, worse: int) -> float:
    """The smallest p that so many discordant users could give: whether a test can reject at all."""
    return float(0.5 ** (better + worse))


@dataclass(frozen=True)
class Margin:
    """A bound on the candidate's loss: the estimate, the lowest plausible value, and the margin for it."""

    difference: float
    lower: float
    delta: float

    @property
    def holds(self) -> bool:
        """Whether the candidate is not worse by more than the margin."""
        return self.lower > -self.delta


def non_inferiority(gains: int, losses: int, n: int, delta: float) -> Margin:
    """One-sided 95 % bound on accuracy(candidate) − accuracy(champion) against a margin.

    Agresti and Min (2005): half a row is added to each of the four cells of the paired table before Wald's interval,
    which holds its level at few discordant rows. With a small anchor no candidate could pass `delta`; the margin is
    then the smallest that an equal candidate with as much discordance passes at 90 %.
    """
    rows = n + 2
    b, c = gains + 0.5, losses + 0.5
    difference = (b - c) / rows
    error = sqrt(((b + c) / rows - difference**2) / rows)
    passable = (ONE_SIDED_95 + PASS_90) * sqrt((b + c) / rows / rows)
    return Margin((gains - losses) / n, difference - ONE_SIDED_95 * error, max(delta, passable))


def rows_to_decide(gains: int, losses: int, n: int, alpha: float, power: float) -> int | None:
    """How many more rows would show, at this power, the gain that the rows so far suggest; None if they suggest none.

    Connor (1987): n = (z_α √ψ + z_β √(ψ − d²))² / d² with discordance ψ and gain d.
    """
    gain, discordance = (gains - losses) / n, (gains + losses) / n
    if gain <= 0:
        return None
    z_alpha, z_beta = NORMAL.inv_cdf(1 - alpha), NORMAL.inv_cdf(power)
    needed = (z_alpha * sqrt(discordance) + z_beta * sqrt(max(0.0, discordance - gain**2))) ** 2 / gain**2
    return max(1, ceil(float(needed)) - n)
