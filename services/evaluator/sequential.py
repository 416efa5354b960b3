"""Tests that may be looked at after each answer: is a canary worse than the champion, or a new champion than the old.

A bet against a hypothesis multiplies its capital by 1 + λz with each observation z, where λ is settled before z is seen
and the hypothesis says that z is at most 0 on average, whatever came before. Its capital is then a non-negative
supermartingale that starts at 1, so that the chance of it ever reaching 1/α is at most α (Ville 1939; Waudby-Smith and
Ramdas 2024, «Estimating means of bounded random variables by betting»). The capital is the e-value.

Both tests hear each user once. A user's answers are not independent, and a canary's user stays with the canary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, inf, log, log1p
from typing import Literal

# Of the largest stake that cannot ruin. Three stakes lose at most ln 3 to the best of them; more of them, smaller ones
# above all, take longer to prove a difference of three points (docs/decisions/0023).
STAKES = (0.25, 0.5, 0.75)
ALPHA_STOP = 0.1  # a good canary that is stopped costs one candidate; a bad one that goes on costs its users
GREATEST_LOG = 700.0  # e to this is a float yet

Side = Literal["promote", "stop"]


class Bet:
    """The capital of a bet that observations are above 0 on average; equal parts of it are staked differently."""

    def __init__(self, reach: float, stakes: Sequence[float] = STAKES) -> None:
        """No observation is below −`reach`. Stakes are shares of 1/`reach`, in [0, 1]."""
        self._rates = [stake / reach for stake in stakes]
        self._logs = [-log(len(stakes))] * len(stakes)

    def take(self, observation: float) -> None:
        """Win or lose."""
        for part, rate in enumerate(self._rates):
            gain = rate * observation
            self._logs[part] += log1p(gain) if gain > -1 else -inf

    @property
    def e_value(self) -> float:
        """The capital: evidence that the mean is above 0."""
        return sum(exp(min(part, GREATEST_LOG)) for part in self._logs)


@dataclass
class Arm:
    """What users said of one version: `n` answers, of which so many were `right`."""

    n: int = 0
    right: int = 0

    def add(self, right: bool) -> None:
        """Count one answer."""
        self.n += 1
        self.right += right

    @property
    def accuracy(self) -> float | None:
        """Share that is right; None of nothing."""
        return self.right / self.n if self.n else None


@dataclass
class Trial:
    """A canary and its champion, each serving users of its own, drawn by a hash: the canary's are a `share` of all.

    Of an input on which both versions say the same, an answer tells nothing of which is better. On the others, with
    Y = 1 for a right answer, A = 1 for a user of the canary, and any centre c that is known beforehand,

        z = (Y − c) (A / share − (1 − A) / (1 − share))

    has the mean accuracy(canary) − accuracy(champion) (ibid. and Waudby-Smith et al. 2024, «Anytime-valid off-policy
    inference»): exactly, however accuracies drift, since only the draw of A is taken as known. c is the running mean of
    Y, which makes z vary least. z keeps the sign of its mean when users who saw an error answer more often, or less.
    """

    share: float
    alpha: float = 0.05  # to be promoted before `answers`
    alpha_stop: float = ALPHA_STOP
    answers: int = 1000  # solicited answers, of both versions together, that end the trial
    heard: int = 0
    canary: Arm = field(default_factory=Arm)  # all answers
    champion: Arm = field(default_factory=Arm)
    canary_apart: Arm = field(default_factory=Arm)  # the first of each user on an input where the two differ
    champion_apart: Arm = field(default_factory=Arm)
    lead: float = 0.0  # sum of z: positive when the canary is ahead
    decision: Side | None = None
    _users: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Place both bets."""
        reach = 1 / min(self.share, 1 - self.share)
        self._better, self._worse = Bet(reach), Bet(reach)

    @property
    def e_better(self) -> float:
        """Evidence that the canary is right more often."""
        return self._better.e_value

    @property
    def e_worse(self) -> float:
        """Evidence that the canary is right less often."""
        return self._worse.e_value

    def hear(self, canary: bool, right: bool, user: str | None = None, differ: bool = True) -> Side | None:
        """Take in one solicited answer, in the order in which they came; returns the decision, None before it.

        `differ` says whether the two versions answer this input differently; True where that is not known, which costs
        power and no more. A user who is None is a person each time.
        """
        if self.decision is not None:
            return self.decision
        self.heard += 1
        (self.canary if canary else self.champion).add(right)
        if differ and user not in self._users:
            self._compare(canary, right)
            if user is not None:
                self._users.add(user)
        self.decision = self._decide()
        return self.decision

    def _compare(self, canary: bool, right: bool) -> None:
        said = self.canary_apart.n + self.champion_apart.n
        centre = (self.canary_apart.right + self.champion_apart.right) / said if said else 0.5
        observation = (right - centre) * (1 / self.share if canary else -1 / (1 - self.share))
        self._better.take(observation)
        self._worse.take(-observation)
        self.lead += observation
        (self.canary_apart if canary else self.champion_apart).add(right)

    def _decide(self) -> Side | None:
        """For certain; or, at the end, whoever is ahead: a canary has shown the gate that it is better."""
        if self.e_worse >= 1 / self.alpha_stop:
            return "stop"
        if self.e_better >= 1 / self.alpha:
            return "promote"
        if self.heard >= self.answers:
            return "promote" if self.lead >= 0 else "stop"
        return None


@dataclass
class Watch:
    """A new champion and the one before it, on the same inputs: those on which one is more right tell them apart.

    Who answers may hang on what was answered: where errors are told more often than successes, an equally good champion
    is heard of by its losses. Who stays silent where the two say different things is therefore a gain (`miss`): no
    observation is lower, and stakes never change, so that the capital had they answered is never below. The level holds
    whoever is silent, and a late answer may replace a silence at the next look (docs/decisions/0038).
    """

    alpha: float = 0.05
    answers: int = 2000  # after so many the champion has shown itself
    heard: int = 0
    gains: int = 0  # users whose first difference was for the new champion
    losses: int = 0
    silent: int = 0  # users who were asked first where the two differ, and did not answer
    worse: bool = False
    _users: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Place the bet that the new champion is worse."""
        self._bet = Bet(1.0)

    @property
    def e_worse(self) -> float:
        """Evidence that the new champion is right less often than the old one."""
        return self._bet.e_value

    @property
    def over(self) -> bool:
        """Whether nothing more is to be heard."""
        return self.worse or self.heard >= self.answers

    def hear(self, new: float, old: float, user: str | None = None) -> bool:
        """Take in one solicited answer to the new champion; returns whether it is worse for certain.

        `new` and `old` say how right each of the two is there, 0 to 1.
        """
        if self.over:
            return self.worse
        self.heard += 1
        if new != old and user not in self._users:
            self._bet.take(old - new)
            self.gains += new > old
            self.losses += old > new
            if user is not None:
                self._users.add(user)
            self.worse = self.e_worse >= 1 / self.alpha
        return self.worse

    def miss(self, user: str | None = None) -> None:
        """Take in a user who was asked and did not answer, where the two say different things."""
        if not self.over and user not in self._users:
            self._bet.take(-1.0)
            self.silent += 1
            if user is not None:
                self._users.add(user)
