"""The tests of the gate, as pure functions of how right each version was on which row.

Paired rows: both versions answered the same inputs, and each answer has a score from 0 (wrong) to 1 (right). A row on
which the candidate scores higher is a gain, one on which the champion does a loss; rows on which they are equal tell
nothing about which is better. Most models know right and wrong alone; an operator's own judge may give shares of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from math import sqrt
from operator import gt, ne
from statistics import NormalDist

NORMAL = NormalDist()
ONE_SIDED_95 = NORMAL.inv_cdf(0.95)
PASS_90 = NORMAL.inv_cdf(0.90)


RESAMPLES = 19_999  # p is then known to .00035 around .0025, and never below .00005; 14 users or fewer: exact


@dataclass(frozen=True)
class Paired:
    """Each version's score on each row, and whose row it is (None: nobody identified, a person of its own)."""

    champion: tuple[float, ...]
    candidate: tuple[float, ...]
    users: tuple[str | None, ...]

    @property
    def n(self) -> int:
        """Rows."""
        return len(self.champion)

    @property
    def gains(self) -> int:
        """Rows on which the candidate is better."""
        return sum(map(gt, self.candidate, self.champion))

    @property
    def losses(self) -> int:
        """Rows on which the champion is better."""
        return sum(map(gt, self.champion, self.candidate))

    @property
    def graded(self) -> bool:
        """Whether an answer was neither right nor wrong."""
        return not {*self.champion, *self.candidate} <= {0, 1}

    def masses(self) -> tuple[float, float]:
        """Gains and losses by weight: their difference is Σd and their sum Σd², where d is a row's difference.

        Those two are all that a mean and its variance need. Of right and wrong they are the counts.
        """
        steps = [step for _, step in self._steps()]
        total, squares = sum(steps), sum(step * step for step in steps)
        return (squares + total) / 2, (squares - total) / 2

    def part(self, rows: Iterable[int]) -> Paired:
        """Some of the rows."""
        chosen = tuple(rows)
        champion, candidate = (tuple(scores[row] for row in chosen) for scores in (self.champion, self.candidate))
        return Paired(champion, candidate, tuple(self.users[row] for row in chosen))

    def against(self, users: Sequence[str | None]) -> Paired:
        """The rows, and one more of each of these users, which the candidate loses whole."""
        more = len(users)
        return Paired((*self.champion, *(1,) * more), (*self.candidate, *(0,) * more), (*self.users, *users))

    def swapped(self) -> Paired:
        """The same rows with the roles exchanged."""
        return Paired(self.candidate, self.champion, self.users)

    def by_user(self) -> tuple[int, int]:
        """Users with more gains than losses, and users with more losses than gains.

        Rows of one user are not independent; McNemar's test on rows would be anti-conservative. Each user's balance
        has the sign of a fair coin when the versions are equal, whatever binds the user's rows together.
        """
        balances = self.balances()
        return sum(balance > 0 for balance in balances), sum(balance < 0 for balance in balances)

    def balances(self) -> tuple[float, ...]:
        """What each user's rows add up to, gains less losses; of the users for whom the versions ever differ."""
        balance: defaultdict[str, float] = defaultdict(float)
        for row, step in self._steps():
            user = self.users[row]
            balance[user if user is not None else f"#{row}"] += step
        return tuple(balance.values())

    def _steps(self) -> Iterator[tuple[int, float]]:
        """The rows on which the versions differ, and by how much; of thousands of rows those are few."""
        for row in compress(range(self.n), map(ne, self.champion, self.candidate)):
            yield row, self.candidate[row] - self.champion[row]


def accuracy(scores: Sequence[float]) -> float | None:
    """Mean score: of right and wrong the share that is right; None without rows."""
    return sum(scores) / len(scores) if scores else None


def p_better(rows: Paired) -> float:
    """One-sided p that the candidate is no better: the sign test over users, or over their graded sums a sign flip."""
    return sign_flip_p(rows.balances()) if rows.graded else exact_p(*rows.by_user())


def p_smallest(rows: Paired) -> float:
    """The smallest p that so many discordant users could give: whether a test can reject at all."""
    exact = smallest_p(*rows.by_user())
    return max(exact, 1 / (RESAMPLES + 1)) if rows.graded else exact


def p_least(rows: Paired, silent: Sequence[str | None]) -> float:
    """The smallest p that the rows could give if each on which the versions differ were a gain, beside such losses."""
    gained = tuple(map(ne, rows.champion, rows.candidate))
    exact = exact_p(*Paired((0,) * rows.n, gained, rows.users).against(silent).by_user())
    return max(exact, 1 / (RESAMPLES + 1)) if rows.graded else exact


def sign_flip_p(balances: Sequence[float]) -> float:
    """One-sided permutation test on users' sums: when the versions are equal, each sum might as well be its negative.

    All sign patterns while they are at most RESAMPLES, else as many at random, always the same, and the pattern seen
    (Phipson and Smyth 2010), so that p is valid either way.
    """
    from numpy.random import default_rng
    from scipy.stats import permutation_test

    moved = [balance for balance in balances if balance != 0]
    if len(moved) < 2:  # which scipy refuses: there are one or two patterns
        return 0.5 if sum(moved) > 0 else 1.0
    found = permutation_test(
        (moved,),
        lambda sums, axis: sums.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=1000,
        alternative="greater",
        rng=default_rng(0),
    )
    return float(found.pvalue)


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


def non_inferiority(gains: float, losses: float, n: int, delta: float) -> Margin:
    """One-sided 95 % bound on accuracy(candidate) − accuracy(champion) against a margin; gains and losses by weight.

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


def holm(p_values: Sequence[float], level: float) -> tuple[bool, ...]:
    """Which hypotheses fall when the chance of any false rejection is to be at most `level` (Holm 1979)."""
    rejected = [False] * len(p_values)
    for rank, one in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[one] > level / (len(p_values) - rank):
            break
        rejected[one] = True
    return tuple(rejected)
