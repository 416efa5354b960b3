"""What was said of an example is found by its name of the first word and by an index of the further ones: all of it."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session, col, select

from services.recorder import evidence
from shared.tables import Example, FeedbackRow, words
from shared.tables.words import heard_on, said_on
from shared.trust import MOST_HEARD
from tests.unit.example_rows import correction, cost, database, example
from tests.unit.recorder_chance import any_order, some_log, some_policy
from tests.unit.recorder_story import (
    ANN,
    BOB,
    EVE,
    Database,
    added,
    at,
    corrected,
    edited,
    erased,
    policy,
    said,
    served,
)

pytestmark = pytest.mark.usefixtures("everywhere")


def further(here: Database) -> dict[str, bool | None]:
    return {row.event_id: row.further for row in here.rows(FeedbackRow)}


def check_marks(here: Database) -> None:
    """Each feedback says whether its example names another event as its first, and an orphan says nothing."""
    first = {row.id: row.first_event for row in here.rows(Example)}
    for row in here.rows(FeedbackRow):
        assert row.further == (None if row.example_id is None else first.get(row.example_id) != row.event_id), row


def check_found(here: Database) -> None:
    """By example is found what any other way finds."""
    examples = {row.id for row in here.rows(Example)}
    asked = select(Example.id, FeedbackRow.event_id).join(FeedbackRow, said_on(Example, FeedbackRow))
    with Session(here.engine) as session:
        found = sorted(tuple(row) for row in session.exec(asked))
    assert found == sorted(
        (row.example_id, row.event_id) for row in here.rows(FeedbackRow) if row.example_id in examples
    )


def newest(votes: list[FeedbackRow], most: int) -> set[str]:
    """The newest of some votes, and those of the moment of the oldest of them."""
    moments = sorted((one.occurred_at for one in votes), reverse=True)
    return {one.event_id for one in votes if one.occurred_at >= moments[:most][-1]}


def check_heard(here: Database, most: int) -> None:
    """The votes that are heard are the newest ones of each example."""
    votes = [row for row in here.rows(FeedbackRow) if row.counted]
    with Session(here.engine) as session:
        for row in here.rows(Example):
            asked = select(FeedbackRow.event_id).join_from(Example, FeedbackRow, heard_on(Example, FeedbackRow))
            found = session.exec(asked.where(col(Example.id) == row.id)).all()
            mine = [vote for vote in votes if vote.example_id == row.id]
            assert len(found) == len(set(found))
            assert set(found) == (newest(mine, most) if mine else set())


@pytest.mark.parametrize("everywhere", ["sqlite"], indirect=True)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 10**9), st.integers(1, 4))
def test_whatever_comes_in_any_order_every_word_is_found_by_its_example(seed: int, most: int) -> None:
    rng = random.Random(seed)
    here = Database(some_policy(rng))
    log = some_log(rng, here)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words, "MOST_HEARD", most)
        for batch in any_order(log, rng):
            here.record(*batch)
            check_marks(here)
        check_found(here)
        check_heard(here, most)


def test_an_earlier_word_that_comes_late_is_the_first() -> None:
    here = Database()
    here.record(*corrected("p", "hello", "b", 5))
    here.record(*corrected("q", "hello", "b", 9, user=BOB), said("q", "up", 10, user=BOB, name="-too"))
    assert further(here) == {"f-p": False, "f-q": True, "f-q-too": True}
    here.record(*corrected("r", "hello", "b", 1, user=EVE))
    assert further(here) == {"f-p": True, "f-q": True, "f-q-too": True, "f-r": False}
    check_found(here)


def test_a_word_that_teaches_nothing_is_a_further_one_and_an_orphan_none() -> None:
    here = Database()
    here.record(served("p", "hello"), said("p", 3, 1), said("q", "b", 4))
    assert further(here) == {"f-p": True, "f-q": None}
    here.record(served("q", "hello", when=2))
    assert further(here) == {"f-p": True, "f-q": False}
    check_found(here)


def test_when_the_first_speaker_is_erased_the_next_word_is_the_first() -> None:
    here = Database()
    here.record(*corrected("p", "hello", "b", 1), *corrected("q", "hello", "b", 5, user=BOB))
    here.record(erased(ANN))
    assert further(here) == {"f-q": False}
    check_found(here)


def test_what_a_person_vouches_for_comes_before_all_words() -> None:
    here = Database()
    here.record(*corrected("p", "hello", "b", 1), *corrected("q", "bye", "b", 5), *corrected("r", "so", "b", 9))
    here.record(added(here, [("hello", "a")], [("the golden one", "a")]), edited("bye", "add", "a", 20))
    assert further(here) == {"f-p": True, "f-q": True, "f-r": False}
    check_found(here)


@pytest.mark.parametrize("everywhere", ["sqlite"], indirect=True)
def test_a_greeting_costs_what_its_newest_votes_cost(everywhere: None) -> None:
    spent = []
    for voices in (MOST_HEARD, 10 * MOST_HEARD):
        one = example(1, first_event="f 0")
        votes = [correction(one) for _ in range(voices)]
        for number, vote in enumerate(votes):
            vote.event_id, vote.prediction_id, vote.occurred_at = f"f {number}", f"p {number}", at(number)
            vote.counted, vote.further, vote.version = True, number > 0, "v0"
        with database([one, *votes]) as session:
            connection = session.connection()
            spent.append(cost(session, lambda: evidence.read(connection, [one.id], policy())).instructions)  # noqa: B023
            [read] = evidence.read(connection, [one.id], policy())
            assert len(read.votes) == MOST_HEARD
    assert spent[1] < 1.5 * spent[0]
    assert spent[0] < 100 * MOST_HEARD, "the oldest vote that is heard is looked for once"
