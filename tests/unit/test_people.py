"""What reviewers decide on versions: one answer each, a second person where ruled so, and holds that last."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

import pytest

from schemas.events import DecisionAnswered, ReviewDecided
from services.evaluator.people import Outcome, answered, is_held, next_step
from shared.policy import People
from tests.unit.recorder_story import MODEL, NOON, at

TWO = People(two="names")


def review(
    name: str,
    decision: Literal["promote", "rollback", "hold", "release"] = "promote",
    reviewer: str = "ada",
    when: float = 0,
    version: str = "v1",
    app: str | None = "office",
) -> ReviewDecided:
    return ReviewDecided(
        event_id=name,
        occurred_at=at(when),
        source="collector",
        subject_kind="version",
        subject=version,
        model=MODEL,
        decision=decision,
        reviewer=reviewer,
        app=app,
    )


def told(*ends: tuple[ReviewDecided, Outcome]) -> dict[str, DecisionAnswered]:
    return {one.event_id: answered(one, outcome, "so", NOON) for one, outcome in ends}


def step(
    *reviews: ReviewDecided,
    answers: dict[str, DecisionAnswered] | None = None,
    rules: People = TWO,
    now: datetime = NOON + timedelta(minutes=1),
) -> tuple[str, str, str | None] | None:
    """Which decision is next, what is to be done, and who agreed."""
    found = next_step(reviews, answers or {}, now, rules)
    if found is None:
        return None
    return found.review.event_id, found.kind, found.agreed.event_id if found.agreed else None


def test_one_reviewer_is_enough_unless_the_policy_wants_two() -> None:
    assert step(review("a"), rules=People()) == ("a", "due", None)
    assert step(review("a")) == ("a", "waits", None)


def test_a_decision_that_has_its_answer_is_not_taken_again() -> None:
    done, refused, open_ = review("a"), review("b"), review("c")
    assert step(done, refused, open_, answers=told((done, "done"), (refused, "refused")), rules=People()) == (
        "c",
        "due",
        None,
    )
    assert step(done, answers=told((done, "done"))) is None


def test_a_second_reviewer_carries_a_decision() -> None:
    first, second = review("a"), review("b", reviewer="bob")
    assert step(first, second, answers=told((first, "waits"))) == ("b", "due", "a")


def test_the_same_reviewer_is_no_second_one_and_neither_is_one_who_decides_otherwise() -> None:
    first = review("a")
    waits = told((first, "waits"))
    assert step(first, review("b"), answers=waits) == ("b", "refused", None)
    assert step(first, review("b", reviewer="bob", version="v2"), answers=waits) == ("b", "waits", None)
    assert step(first, review("b", "rollback", reviewer="bob"), answers=waits) == ("b", "waits", None)


@pytest.mark.parametrize(("app", "kind"), [("office", "refused"), (None, "refused"), ("home", "due")])
def test_where_names_are_not_enough_the_keys_must_be_two_apps(app: str | None, kind: str) -> None:
    first, second = review("a"), review("b", reviewer="bob", app=app)
    found = step(first, second, answers=told((first, "waits")), rules=People(two="keys"))
    assert found is not None
    assert found[1] == kind


def test_a_decision_that_finds_nobody_is_dropped_after_its_hours() -> None:
    first = review("a")
    waits = told((first, "waits"))
    assert step(first, answers=waits, now=NOON + timedelta(hours=23)) is None
    late = NOON + timedelta(hours=25)
    assert step(first, answers=waits, now=late) == ("a", "refused", None)
    assert step(first, rules=People(), now=late) == ("a", "refused", None), "what nobody carried out for a day is stale"


def test_a_hold_needs_nobody_else_and_a_release_does() -> None:
    hold, release = review("a", "hold"), review("b", "release", reviewer="bob", when=1)
    assert step(hold) == ("a", "due", None)
    assert step(hold, release, answers=told((hold, "done"))) == ("b", "waits", None)


def test_a_hold_lasts_until_it_is_released() -> None:
    hold, release, again = review("a", "hold"), review("b", "release", when=1), review("c", "hold", when=2)
    assert is_held([hold], {}) is None, "it has not been answered"
    assert is_held([hold, release], told((hold, "done"), (release, "waits"))) == hold
    assert is_held([hold, release], told((hold, "done"), (release, "done"))) is None
    assert is_held([hold, release, again], told((hold, "done"), (release, "done"), (again, "done"))) == again


def test_an_answer_says_whose_decision_it_answers() -> None:
    one = answered(review("a", "rollback"), "refused", "no such version", NOON)
    assert (one.review, one.version, one.decision, one.reviewer, one.outcome) == (
        "a",
        "v1",
        "rollback",
        "ada",
        "refused",
    )
    assert one.event_id == answered(review("a", "rollback"), "refused", "no such version", at(5)).event_id
