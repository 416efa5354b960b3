"""Votes on one input: whose voice is heard, what weighs most, and what is known to be right. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from shared.grading import meaning, same_output
from shared.trust import MOST_HEARD, UNKNOWN, vote_weight


@dataclass(frozen=True)
class Vote:
    """One counted feedback with a target. `score` is the served output's; `knew`: its version knew the target."""

    event_id: str
    occurred_at: datetime
    prediction_id: str
    user_key: str | None
    kind: str
    target: str
    solicited: bool
    wrong: bool
    score: float | None = None
    knew: bool = True

    @property
    def speaker(self) -> str:
        """Who speaks: the user, or, without a name, the prediction it was said of."""
        return self.user_key or f"prediction:{self.prediction_id}"


@dataclass(frozen=True)
class Ruling:
    """A reviewer's decision on an example: accept, reject, or relabel to a target."""

    decision: str
    target: str | None = None
    moment: tuple[datetime, str] | None = None


@dataclass(frozen=True)
class Tally:
    """The votes for one target, as the first of them wrote it, and what they weigh."""

    target: str
    weights: tuple[float, ...]
    votes: tuple[Vote, ...]

    @property
    def weight(self) -> float:
        """The sum of its votes' weights."""
        return sum(self.weights)


def newest(votes: Iterable[Vote]) -> tuple[Vote, ...]:
    """The newest MOST_HEARD votes, oldest first."""
    return tuple(sorted(votes, key=lambda vote: (vote.occurred_at, vote.event_id))[-MOST_HEARD:])


def voices(votes: Iterable[Vote]) -> tuple[Vote, ...]:
    """The newest vote of each speaker among the newest votes, oldest first."""
    ordered = newest(votes)
    if len(ordered) < 2:  # as on most inputs
        return ordered
    last = {vote.speaker: vote for vote in ordered}
    return tuple(vote for vote in ordered if last[vote.speaker] is vote)


def tally(heard: Iterable[Vote], trusted: Mapping[str, float]) -> tuple[Tally, ...]:
    """The votes by what they say, heaviest first, and equal weights by name. Users not in `trusted` are unknown."""
    sides: dict[str, list[Vote]] = defaultdict(list)
    for vote in heard:
        sides[meaning(vote.target)].append(vote)
    tallies = [
        Tally(
            side[0].target,
            tuple(vote_weight(trusted.get(vote.user_key or "", UNKNOWN), vote.kind) for vote in side),
            (*side,),
        )
        for side in sides.values()
    ]
    return tuple(sorted(tallies, key=lambda one: (-one.weight, one.target)))


def known_target(heard: Iterable[Vote], ruling: Ruling | None) -> str | None:
    """What is known to be right without weighing anybody: a reviewer's word, else what most solicited answers say.

    A reviewer who accepts names no target: then it is what most voices say, whoever they are.
    """
    if ruling is None:
        return _most(vote.target for vote in heard if vote.solicited)
    if ruling.decision == "reject":
        return None
    return ruling.target or _most(vote.target for vote in heard)


def agreement(heard: Iterable[Vote], known: str | None) -> dict[str, bool]:
    """Event id → whether it agrees with what is known, for each named user's volunteered vote."""
    if known is None:
        return {}
    return {vote.event_id: same_output(vote.target, known) for vote in heard if vote.user_key and not vote.solicited}


def _most(targets: Iterable[str]) -> str | None:
    said: dict[str, list[str]] = defaultdict(list)
    for target in targets:
        said[meaning(target)].append(target)
    top = max(map(len, said.values()), default=0)
    first = [targets[0] for targets in said.values() if len(targets) == top]
    return first[0] if len(first) == 1 else None
