"""What is made of the votes on one input: a pure function of facts and policy.

The rules, in order; the one that refuses names itself in `reason`:

- `anchor_twin`: a near-duplicate of the golden anchor is neither lesson nor evidence.
- `rejected_by_reviewer`; a reviewer's accept or relabel skips the rules below.
- What a person vouched for (seed, anchor) needs no votes. Of the anchor none is heard, even where its label is retired.
- `user_cap`: nobody voted but users beyond their cap.
- `no_target`: nobody said what is right, only that an output is not, or which of two is better.
- `retired_label`: nobody said what is right but by a label that a reviewer has retired.
- `unsolicited`: on side holdout only solicited votes are evidence; who volunteers depends on who was wrong.
- `burst`: many users began to speak of near-duplicates at once (see `guards`).
- `near_duplicate`: its only voice is of a user who has voted on an earlier near-duplicate. It counts there.
- `conflict`: the runner-up weighs more than half as much as the winner. Two against one is none: the two are right far
  more often than not, and their lesson weighs about half as much as one of three who agree.
- `quorum`: too few agree. One solicited answer is enough.
- `new_label`: the label is not the model's yet.
- `confident_champion`: one volunteered voice against a version that was sure and knew the label. It never holds for
  evidence, since no volunteer is heard there.

The weight of an example is what the winning votes weigh together (see `trust`) times their share of all votes' weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from services.recorder.votes import Ruling, Tally, Vote, tally, voices
from shared.policy import Trust
from shared.trust import combined

CONFLICT = 0.5  # a runner-up with more than this share of the winner's weight is a dispute


@dataclass(frozen=True)
class Case:
    """All that is known of one input of a model.

    `vouched` is the target that a person gave with the model; `labels` None means that any target will do; `capped`
    says that there are votes which do not count, `retired` that somebody named a label which stands no more.
    """

    origin: str
    side: str
    graduated: bool = False
    vouched: str | None = None
    votes: tuple[Vote, ...] = ()
    ruling: Ruling | None = None
    labels: frozenset[str] | None = None
    guard: str = ""
    capped: bool = False
    retired: bool = False

    @property
    def evidence(self) -> bool:
        """Whether it is there to judge versions, and not to teach them."""
        return self.side in ("holdout", "anchor") and not self.graduated


@dataclass(frozen=True)
class Curated:
    """What becomes of it: train, holdout, pending or quarantined, and why."""

    status: str
    reason: str = ""
    target: str | None = None
    weight: float = 0.0
    votes: int = 0


def curate(case: Case, trusted: Mapping[str, float], policy: Trust) -> Curated:
    """What becomes of an input. `trusted` holds its users' trust, 0 to 1; others are unknown."""
    solicited_only = case.side == "holdout" and not case.graduated
    heard = voices(vote for vote in case.votes if vote.solicited or not solicited_only)
    tallies = tally(heard, trusted)
    usable = Curated("holdout" if case.evidence else "train", "", *_answer(case, tallies), votes=len(heard))
    if case.side == "anchor" and case.origin != "anchor":
        return Curated("quarantined", "anchor_twin", votes=len(heard))  # no target, so that no reader can take it
    if case.ruling is not None and (ruled := _ruled(case.ruling, usable)) is not None:
        return ruled
    refusal = _refusal(case, tallies, policy) if case.vouched is None else None
    return usable if refusal is None else replace(usable, status=refusal[0], reason=refusal[1])


def _answer(case: Case, tallies: tuple[Tally, ...]) -> tuple[str | None, float]:
    """The right output, as far as it is known, and its weight."""
    if case.vouched is not None:
        return case.vouched, 1.0
    if case.origin == "anchor":
        return None, 0.0  # its label is retired, and what users say of it is no anchor
    if not tallies:
        return None, 0.0
    share = tallies[0].weight / sum(one.weight for one in tallies)
    return tallies[0].target, combined(tallies[0].weights) * share


def _ruled(ruling: Ruling, usable: Curated) -> Curated | None:
    """What a reviewer decided; None when there is nothing that it could hold for."""
    if ruling.decision == "reject":
        return replace(usable, status="quarantined", reason="rejected_by_reviewer")
    target = ruling.target or usable.target
    return None if target is None else replace(usable, target=target, weight=1.0)


def _refusal(case: Case, tallies: tuple[Tally, ...], policy: Trust) -> tuple[str, str] | None:
    """The status and the rule that keep an input from use."""
    if case.origin == "anchor" or (not case.votes and case.retired):
        return "pending", "retired_label"
    if not case.votes:
        return ("quarantined", "user_cap") if case.capped else ("pending", "no_target")
    if not tallies:
        return "pending", "unsolicited"
    if (guarded := _guarded(case, tallies)) is not None:
        return guarded
    winner = tallies[0]
    if len(tallies) > 1 and tallies[1].weight > winner.weight * CONFLICT:
        return "quarantined", "conflict"
    if not _enough(winner, policy):
        return "pending", "quorum"
    if case.labels is not None and winner.target not in case.labels:
        return "pending", "new_label"
    if _against_confident_champion(winner, policy):
        return "quarantined", "confident_champion"
    return None


def _guarded(case: Case, tallies: tuple[Tally, ...]) -> tuple[str, str] | None:
    """What the class of near-duplicates tells against an input; solicited answers nobody can bring about."""
    votes = [vote for tally in tallies for vote in tally.votes]
    if any(vote.solicited for vote in votes):
        return None
    if case.guard == "burst":
        return "quarantined", "burst"
    return ("pending", "near_duplicate") if case.guard == "near_duplicate" and len(votes) == 1 else None


def _enough(winner: Tally, policy: Trust) -> bool:
    named = sum(vote.user_key is not None for vote in winner.votes)
    nameless = len(winner.votes) - named
    solicited = any(vote.solicited for vote in winner.votes)
    return solicited or named >= policy.quorum or nameless >= policy.anonymous_quorum


def _against_confident_champion(winner: Tally, policy: Trust) -> bool:
    """One volunteered voice says that a sure version was wrong, and the version knew the label it should have given."""
    vote = winner.votes[0]
    sure = vote.score is not None and vote.score >= policy.confident
    return len(winner.votes) == 1 and not vote.solicited and vote.wrong and sure and vote.knew
