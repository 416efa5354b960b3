"""When a candidate is looked at again: as evidence grows, within the budget, and never because of who was right."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from sqlmodel import Session

from schemas.events import VerdictReached
from services.evaluator.retest import is_owed, next_look, waits
from services.trainer.selection import new_rows
from shared.policy import Gate, Policy
from tests.unit.recorder_story import MODEL, Database, added, corrected, crowned, judged, trained

RULES = Gate()


def undecided(**more: Any) -> VerdictReached:
    return judged("v1").model_copy(update={"outcome": "inconclusive", "champion": "v0", **more})


def is_waiting(verdict: VerdictReached, champion: str = "v0", tested: int = 0, rules: Gate = RULES) -> bool:
    return waits(trained("v1", "v0"), verdict, crowned(champion), tested, rules)


def test_who_is_undecided_waits_until_decided_stale_or_out_of_budget() -> None:
    assert is_waiting(undecided())
    assert is_waiting(undecided(alpha=0.0025), tested=RULES.tries - 1)
    assert not is_waiting(undecided(), tested=RULES.tries)
    assert not is_waiting(undecided(), champion="v7")
    assert not is_waiting(undecided(outcome="reject"))


def test_a_rebuilt_version_waits_although_it_is_not_the_champions_child() -> None:
    rebuilt = trained("v1", "v-older").model_copy(update={"requested_by": "erasure"})
    assert waits(rebuilt, undecided(), crowned("v0"), 0, RULES)


def test_a_fast_gate_tests_each_candidate_once_and_never_runs_out() -> None:
    fast = Gate(mode="fast")
    assert is_waiting(undecided(), tested=10_000, rules=fast)
    assert not is_waiting(undecided(alpha=0.05), rules=fast)


@settings(deadline=None)
@given(some.integers(0, 5000), some.integers(1, 40), some.integers(1, 4000))
def test_looks_come_at_half_as_many_rows_more_until_the_window_is_full(seen: int, tries: int, window: int) -> None:
    rules = Gate(tries=tries, window=window)
    wanted = next_look(seen, rules)
    if wanted is None:
        assert seen >= window
    else:
        assert seen < wanted <= window
        assert wanted == window or (wanted >= 1.5 * seen and 0.5**wanted <= rules.alpha / tries)


def test_a_candidate_is_looked_at_less_often_than_a_reign_has_tests() -> None:
    rows = [0]
    while (wanted := next_look(rows[-1], RULES)) is not None:
        rows.append(wanted)
    assert rows[:4] == [0, 9, 14, 21]
    assert rows[-1] == RULES.window
    assert len(rows) - 1 <= RULES.tries, "one candidate that waits cannot use the budget up"


@pytest.mark.parametrize(
    ("champion", "since", "owed"), [("v0", 50, True), ("v0", 61, False), ("v7", 50, False), ("v1", 65, False)]
)
def test_a_promotion_is_owed_while_the_champion_it_replaces_serves_and_was_not_brought_back(
    champion: str, since: float, owed: bool
) -> None:
    promoted = undecided(outcome="promote")  # at 60 s
    assert is_owed(promoted, crowned(champion, when=since)) is owed


def test_a_first_version_is_owed_its_place_while_nobody_serves() -> None:
    promoted = undecided(outcome="promote", champion=None)
    assert is_owed(promoted, None)
    assert not is_owed(promoted, crowned("v0"))
    assert not is_owed(undecided(), crowned("v0"))


def test_the_lessons_of_a_candidate_that_was_not_promoted_are_learned_by_the_next_increment() -> None:
    story = Database()
    story.record(added(story, [("where is it", "a"), ("pay me back", "b")]), trained("v0"), crowned("v0", when=20))
    story.record(*corrected("p", "lost it", "a", 30), *corrected("q", "my money", "b", 40, user="b" * 32))
    stale, rival = trained("v1", "v0", ["lost it"]), trained("v2", "v0", ["my money"])
    story.record(stale, rival, undecided(), crowned("v2", "v0", when=70))
    with Session(story.engine) as session:
        texts = {row.id for row in new_rows(session, MODEL, Policy())}
    lost = story.example("lost it")
    learned = story.example("my money")
    assert lost is not None
    assert learned is not None
    assert lost.id in texts, "only the stale v1 learned it: it is new to the champion's line"
    assert (learned.learned_in, learned.id in texts) == ("v2", False)
