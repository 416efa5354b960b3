"""What reviewers decide on versions: promote, roll back, hold and release, in their order, and by two where ruled so.

Each decision gets one answer that ends it: done or refused. In between it may wait for a second reviewer. A hold needs
nobody else, since it only keeps the loop from moving the alias.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from schemas.events import DecisionAnswered, ReviewDecided
from shared.policy import People
from shared.text import short_hash

MOVES = ("promote", "rollback")
Outcome = Literal["done", "waits", "refused"]
End = tuple[Outcome, str]  # and why


@dataclass(frozen=True)
class Next:
    """What is to be done about a decision: carry it out (`due`, with who agreed), let it wait, or refuse it."""

    review: ReviewDecided
    kind: Literal["due", "waits", "refused"]
    reason: str = ""
    agreed: ReviewDecided | None = None


def is_open(review: ReviewDecided, answers: Mapping[str, DecisionAnswered]) -> bool:
    """Whether a decision has not come to its end."""
    answer = answers.get(review.event_id)
    return answer is None or answer.outcome == "waits"


def next_step(
    reviews: Iterable[ReviewDecided], answers: Mapping[str, DecisionAnswered], now: datetime, rules: People
) -> Next | None:
    """The first thing to be done about one model's decisions, in the order in which they were taken; None: nothing."""
    undone = [review for review in reviews if is_open(review, answers)]
    for place, review in enumerate(undone):
        waiting = answers.get(review.event_id) is not None
        if now - review.occurred_at > timedelta(hours=rules.hours):
            why = "no second reviewer agreed" if waiting else "it could not be carried out"
            return Next(review, "refused", f"Dropped: {why} within {rules.hours:g} hours.")
        if waiting:
            continue
        if review.decision == "hold" or rules.two == "no":
            return Next(review, "due")
        alike = [one for one in undone[:place] if _alike(one, review)]
        if agreed := next((one for one in alike if _another(one, review, rules)), None):
            return Next(review, "due", agreed=agreed)
        if alike:
            return Next(review, "refused", "The same reviewer has decided so before: a second one must agree.")
        return Next(review, "waits", f"Waits for a second reviewer, at most {rules.hours:g} hours.")
    return None


def is_held(reviews: Sequence[ReviewDecided], answers: Mapping[str, DecisionAnswered]) -> ReviewDecided | None:
    """The hold that keeps the loop from moving the model's alias, if the last of holds and releases is one."""
    done = [
        review
        for review in reviews
        if review.decision in ("hold", "release")
        and (answer := answers.get(review.event_id)) is not None
        and answer.outcome == "done"
    ]
    return done[-1] if done and done[-1].decision == "hold" else None


def answered(
    review: ReviewDecided, outcome: Literal["done", "waits", "refused"], reason: str, at: datetime
) -> DecisionAnswered:
    """The event that tells what became of a decision."""
    decision = review.decision
    if decision not in ("promote", "rollback", "hold", "release"):
        raise ValueError(f"{decision} is no decision on a version")
    return DecisionAnswered(
        event_id=short_hash("answer", review.event_id, outcome),
        occurred_at=at,
        source="evaluator",
        model=review.model,
        review=review.event_id,
        version=review.subject,
        decision=decision,
        reviewer=review.reviewer,
        outcome=outcome,
        reason=reason[:1000],
    )


def _alike(one: ReviewDecided, other: ReviewDecided) -> bool:
    return (one.decision, one.subject) == (other.decision, other.subject)


def _another(one: ReviewDecided, other: ReviewDecided, rules: People) -> bool:
    """Whether two decisions are two people's."""
    named = one.reviewer != other.reviewer
    return named and (rules.two == "names" or (None not in (one.app, other.app) and one.app != other.app))
