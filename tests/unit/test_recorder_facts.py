"""The recorder without a broker: events in, rows out, through the function that the worker calls."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event as sql_event
from sqlalchemy.exc import IntegrityError

from schemas.events import Event, TrainingProgressed, UserErased
from services.recorder import identity, newcomers
from services.recorder.batch import Batch, Recorded, record
from services.recorder.digest import digest
from services.recorder.rows import insert
from shared.tables import Example, FeedbackRow, ModelRow, Prediction, Progress, Request, Version, open_database
from shared.text import fingerprint
from tests.unit.events import EXAMPLES
from tests.unit.recorder_chance import any_order, some_log, some_policy
from tests.unit.recorder_story import (
    ANN,
    BOB,
    DAN,
    EVE,
    MODEL,
    Database,
    added,
    at,
    corrected,
    crowned,
    erased,
    judged,
    policy,
    reviewed,
    said,
    served,
    trained,
)

pytestmark = pytest.mark.usefixtures("everywhere")


@pytest.fixture
def database(everywhere: None) -> Database:
    return Database()


def test_every_kind_of_event_becomes_a_row_once(database: Database) -> None:
    events = [event for event in EXAMPLES if not isinstance(event, UserErased)]
    database.record(*events)
    once = digest(database.engine)
    database.record(*events, *events)
    for event in events:
        database.record(event)
    assert digest(database.engine) == once
    assert len(database.rows(Prediction)) == len(database.rows(FeedbackRow)) == len(database.rows(Version)) == 1


def test_feedback_and_prediction_meet_in_either_order(database: Database) -> None:
    answer, feedback = corrected("p", "hello", "b")
    other = Database()
    database.record(answer)
    database.record(feedback)
    other.record(feedback)
    assert [(row.model, row.target) for row in other.rows(FeedbackRow)] == [(None, None)]  # an orphan, and visible
    assert other.rows(Example) == []
    other.record(answer)
    assert digest(other.engine) == digest(database.engine)
    assert database.state("hello") == ("train", "train", "", "b")


def test_the_first_prediction_of_an_id_wins_and_the_other_is_counted(database: Database) -> None:
    first = served("p", "hello")
    second = first.model_copy(update={"event_id": "other", "output": "z"})
    assert database.record(first, second) == 1
    assert database.record(second, first) == 1
    assert [row.output for row in database.rows(Prediction)] == ["a"]


def test_an_id_is_taken_by_the_first_and_a_repeat_is_told_from_a_conflict(database: Database) -> None:
    answer, feedback = corrected("p", "hello", "b")
    forged = feedback.model_copy(update={"user_key": BOB})
    again = feedback.model_copy(update={"occurred_at": at(99), "source": "spool"})  # the same, accepted later
    answer_under_taken_id = answer.model_copy(update={"prediction_id": "q"})
    assert database.record(answer, feedback, again, forged) == 1
    with database.engine.connect() as connection:
        found = identity.sort(connection, [forged, again, answer, answer_under_taken_id])
    assert (found.repeats, found.conflicts) == ([again, answer], [forged, answer_under_taken_id])
    assert not found.predictions
    assert not found.feedback
    assert [row.user_key for row in database.rows(FeedbackRow)] == [ANN]


def test_the_same_input_is_one_example_and_near_duplicates_share_a_side(database: Database) -> None:
    database.record(*corrected("p1", "Card lost!", "b", 10))
    assert database.state("card  LOST!") == ("train", "train", "", "b")
    database.record(*corrected("p2", "lost card", "b", 5, user=BOB, solicit=True))  # late, but given earlier
    assert database.state("lost card") == ("holdout", "holdout", "", "b")
    assert database.state("Card lost!") == ("holdout", "pending", "unsolicited", None)


def test_votes_beyond_the_cap_do_not_count_and_a_late_earlier_one_displaces() -> None:
    database = Database(policy(user_cap=2))
    for number in (2, 3, 4):
        database.record(*corrected(f"p{number}", f"text{number}", "b", number))
    assert [database.state(f"text{n}")[1:3] for n in (2, 3, 4)] == [  # type: ignore[index]
        ("train", ""),
        ("train", ""),
        ("quarantined", "user_cap"),
    ]
    database.record(*corrected("p1", "text1", "b", 1))
    assert [database.state(f"text{n}")[1:3] for n in (1, 2, 3)] == [  # type: ignore[index]
        ("train", ""),
        ("train", ""),
        ("quarantined", "user_cap"),
    ]
    database.record(*corrected("p5", "text5", "b", 24 * 3600))  # a new day
    assert database.state("text5") == ("train", "train", "", "b")


def test_a_new_label_is_learned_after_three_users_on_three_inputs() -> None:
    database = Database()
    database.record(added(database, [("x", "a"), ("y", "b")]))
    for number, user in enumerate((ANN, ANN, BOB)):
        database.record(*corrected(f"p{number}", f"text{number}", "new", number, user=user))
    assert database.state("text0") == ("train", "pending", "new_label", "new")
    assert [row.labels for row in database.rows(ModelRow)] == [["a", "b"]]
    database.record(*corrected("p9", "text9", "new", 9, user=EVE))
    assert {database.state(f"text{n}") for n in (0, 1, 2, 9)} == {("train", "train", "", "new")}
    assert [row.labels for row in database.rows(ModelRow)] == [["a", "b", "new"]]


def test_a_reviewer_admits_a_label_and_takes_it_back() -> None:
    database = Database()
    database.record(added(database, [("x", "a")]), *corrected("p1", "one", "new"), *corrected("p2", "two", "new", 5))
    assert database.state("two") == ("train", "pending", "new_label", "new")
    database.record(reviewed("one", "accept"))
    assert database.state("two") == ("train", "train", "", "new")
    database.record(reviewed("one", "reject", when=101))
    assert database.state("one") == ("train", "quarantined", "rejected_by_reviewer", "new")
    assert database.state("two") == ("train", "pending", "new_label", "new")


def test_reviews_decide_whenever_they_come(database: Database) -> None:
    votes = (*corrected("p1", "hello", "b"), *corrected("p2", "hello", "c", 3, user=BOB))
    database.record(reviewed("hello", "relabel", "d"))  # before anyone spoke
    database.record(*votes)
    assert database.state("hello") == ("train", "train", "", "d")
    database.record(reviewed("hello", "reject", when=50))  # given earlier
    assert database.state("hello") == ("train", "train", "", "d")
    database.record(reviewed("hello", "reject", when=150))
    assert database.state("hello")[1:3] == ("quarantined", "rejected_by_reviewer")  # type: ignore[index]


def test_trust_follows_solicited_answers_to_all_votes_of_a_user(database: Database) -> None:
    database.record(*corrected("p1", "alone", "b", user=EVE))
    assert database.example("alone").weight == 0.5  # type: ignore[union-attr]
    database.record(*corrected("p2", "shared", "z", 5, user=EVE))
    database.record(*corrected("p3", "shared", "b", 9, user=BOB, solicit=True))
    assert database.example("alone").weight == pytest.approx(1 / 3)  # type: ignore[union-attr]


def test_trust_is_of_the_last_thirty_days(database: Database) -> None:
    day = 24 * 3600
    database.record(
        *corrected("p1", "shared", "z", user=EVE), *corrected("p2", "shared", "b", 9, user=BOB, solicit=True)
    )
    weights = {}
    for number in (-1, 0, 29, 30):
        database.record(*corrected(f"d{number}", f"text {number}", "b", number * day, user=EVE))
        example = database.example(f"text {number}")
        assert example is not None
        weights[number] = example.weight
    assert weights == {-1: 0.5, 0: pytest.approx(1 / 3), 29: pytest.approx(1 / 3), 30: 0.5}


def test_seeds_and_anchors_win_over_feedback_whichever_came_first() -> None:
    database, other = Database(), Database()
    request = added(database, [("seeded", "a")], [("golden", "b")])
    other.datasets = database.datasets
    votes = (
        *corrected("p1", "seeded", "z", solicit=True),
        *corrected("p2", "golden", "z", 3),
        *corrected("p3", "Golden!", "b", 5),
    )
    database.record(request)
    database.record(*votes)
    other.record(*votes)
    other.record(request)
    assert digest(database.engine) == digest(other.engine)
    assert database.state("seeded") == ("train", "train", "", "a")
    assert database.state("golden") == ("anchor", "holdout", "", "b")
    assert database.state("Golden!") == ("anchor", "quarantined", "anchor_twin", None)
    assert [row.request_id for row in database.rows(Request)] == [request.request_id]


def test_holdout_rows_that_leave_the_window_become_lessons() -> None:
    database = Database(policy(window=2))
    for number in range(4):
        database.record(*corrected(f"p{number}", f"text{number}", "b", number, solicit=True))
    assert [database.state(f"text{n}")[:2] for n in range(4)] == [  # type: ignore[index]
        ("holdout", "train"),
        ("holdout", "train"),
        ("holdout", "holdout"),
        ("holdout", "holdout"),
    ]
    database.record(erased(ANN, 0.5), erased(BOB, 9))
    late = corrected("p9", "text9", "b", 1.5, solicit=True, user=BOB)
    database.record(*late)  # erased before it came: nothing changes
    assert database.example("text9") is None


def test_the_champions_line_has_learned_its_lessons_until_a_rollback() -> None:
    database = Database()
    database.record(*corrected("p1", "one", "b"), *corrected("p2", "two", "b", 5))
    story: list[Event] = [
        trained("v0", None, ["one"]),
        crowned("v0", when=70),
        trained("v1", "v0", ["two"], when=71),
        judged("v1", ["one", "two"], when=72),
    ]
    database.record(*story)
    assert [database.example(text).learned_in for text in ("one", "two")] == ["v0", None]  # type: ignore[union-attr]
    assert database.example("two").fixed_in is None  # type: ignore[union-attr]
    database.record(crowned("v1", "v0", 80))
    two = database.example("two")
    assert two is not None
    assert (two.learned_in, two.fixed_in, two.fixed_at) == ("v1", "v1", at(80))
    database.record(crowned("v0", "v1", 90))
    two = database.example("two")
    assert two is not None
    assert (two.learned_in, two.fixed_in, two.fixed_at) == (None, "v1", at(80))
    assert [(row.version, row.number) for row in database.rows(Version)] == [("v0", 0), ("v1", 1)]


def test_an_erased_user_leaves_no_word_and_does_not_come_back(database: Database) -> None:
    own = corrected("p1", "mine", "b")
    both = (*corrected("p2", "ours", "b", 3), *corrected("p3", "ours", "c", 6, user=BOB))
    foreign = (served("p4", "hers"), said("p4", "c", user=BOB))
    database.record(*own, *both, *foreign)
    database.record(erased(ANN))
    database.record(*own, *both, *foreign)
    assert database.example("mine") is None
    assert database.example("hers") is None  # the prediction was Ann's
    assert database.state("ours") == ("train", "train", "", "c")
    assert {row.user_key for row in (*database.rows(Prediction), *database.rows(FeedbackRow))} == {BOB}
    assert [row.model for row in database.rows(FeedbackRow) if row.prediction_id == "p4"] == [None]
    database.record(*corrected("p5", "mine", "b", 300))  # Ann came back
    assert database.state("mine") == ("train", "train", "", "b")


def test_an_unknown_models_feedback_is_kept_and_takes_any_label(database: Database) -> None:
    database.record(*corrected("p", "hello", "anything", model="foreign"))
    found = database.example("hello", "foreign")
    assert found is not None
    assert (found.status, found.target) == ("train", "anything")


def test_the_newest_progress_of_a_request_stays(database: Database) -> None:
    def told(step: int, when: float) -> TrainingProgressed:
        return TrainingProgressed(
            event_id=f"t{step}",
            occurred_at=at(when),
            source="trainer",
            request_id="r",
            model=MODEL,
            state="running",
            step=step,
        )

    database.record(told(2, 2), told(1, 1))
    database.record(told(1, 1))
    assert [row.step for row in database.rows(Progress)] == [2]


@pytest.mark.parametrize("everywhere", ["sqlite"], indirect=True)
def test_no_class_of_inputs_is_on_both_sides() -> None:
    for seed in range(20):
        rng = random.Random(seed)
        database = Database(some_policy(rng))
        database.record(*some_log(rng, database))
        sides: dict[str, set[str]] = {}
        for row in database.rows(Example):
            sides.setdefault(fingerprint(row.text), set()).add(row.side)
        assert all(len(found) == 1 for found in sides.values())


@pytest.mark.parametrize("everywhere", ["sqlite"], indirect=True)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 10**9))
def test_any_order_of_partitions_and_any_redelivery_gives_the_same_digest(seed: int) -> None:
    rng = random.Random(seed)
    database = Database(some_policy(rng))
    log = some_log(rng, database)
    database.record(*log)
    replayed = Database(database.policies, database.datasets)
    for _ in ("once", "again"):
        for batch in any_order(log, rng):
            replayed.record(*batch)
        assert digest(replayed.engine) == digest(database.engine)


@pytest.mark.parametrize("everywhere", ["sqlite"], indirect=True)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 10**9))
def test_inputs_with_one_voice_are_judged_as_all_others_are(seed: int) -> None:
    rng = random.Random(seed)
    database = Database(some_policy(rng))
    log = some_log(rng, database)
    general = Database(database.policies, database.datasets)
    for batch in any_order(log, rng):
        database.record(*batch)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(newcomers, "lonely", lambda *_: [])
            general.record(*batch)
        assert digest(database.engine) == digest(general.engine)


@pytest.mark.parametrize("seed", range(3))
def test_both_databases_hold_the_same(seed: int) -> None:
    rng = random.Random(seed)
    here = Database(some_policy(rng))
    log = some_log(rng, here)
    in_memory = Database(here.policies, here.datasets, open_database("sqlite://"))
    here.record(*log)
    in_memory.record(*log)
    assert digest(here.engine) == digest(in_memory.engine)


def test_two_users_make_a_quorum_across_batches() -> None:
    database = Database(policy(quorum=2))
    database.record(*corrected("p1", "hello", "b", user=DAN))
    assert database.state("hello") == ("train", "pending", "quorum", "b")
    database.record(*corrected("p2", "hello", "b", 4, user=EVE))
    assert database.state("hello") == ("train", "train", "", "b")


def test_a_row_that_the_database_refuses_is_told_in_one_way_on_both(database: Database) -> None:
    database.record(served("p", "hello"))
    row = {name: getattr(database.rows(Prediction)[0], name) for name in Prediction.model_fields}
    with database.engine.connect() as connection, pytest.raises(IntegrityError):
        insert(connection, Prediction, [row])


def test_a_row_that_cannot_be_made_is_told_as_it_is_and_leaves_none(database: Database) -> None:
    database.record(served("p", "hello"))
    row = {name: getattr(database.rows(Prediction)[0], name) for name in Prediction.model_fields}

    def rows() -> Iterator[dict[str, Any]]:
        yield row | {"prediction_id": "q", "event_id": "q"}
        raise ValueError("no second row")

    with database.engine.connect() as connection, pytest.raises(ValueError, match="no second row"):
        insert(connection, Prediction, rows())
    assert [one.prediction_id for one in database.rows(Prediction)] == ["p"]


@pytest.mark.parametrize("everywhere", ["sqlite"], indirect=True)
def test_no_statement_of_a_batch_reads_a_whole_table(database: Database) -> None:
    votes = [event for n in range(40) for event in corrected(f"p{n}", f"text {n % 25}", "b", n, solicit=n % 3 == 0)]
    database.record(*votes)
    plans: list[str] = []

    def explain(connection: Any, _cursor: object, statement: str, values: Any, _context: object, many: bool) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")):
            cursor = connection.connection.driver_connection.cursor()
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", values[0] if many else values)
            plans.extend(f"{row[3]} in {statement}" for row in cursor)

    sql_event.listen(database.engine, "before_cursor_execute", explain)
    database.record(*[one for n in range(40, 80) for one in corrected(f"p{n}", f"text {n % 30}", "b", n, user=BOB)])
    assert any("SEARCH feedback" in plan for plan in plans)
    assert [plan for plan in plans if re.match(r"SCAN (prediction|feedback|example)\b", plan)] == []
    assert [
        plan for plan in plans if "agrees IS NOT NULL" in plan and "feedback_by_user" in plan.split(" in ")[0]
    ] == []


def test_what_goes_into_quarantine_is_counted_once_by_its_rule() -> None:
    database = Database()
    sure = corrected("p1", "hello", "b", user=BOB, score=0.99)
    assert record_all(database, sure).held == {"confident_champion": 1}
    assert record_all(database, sure).held == {}
    assert record_all(database, corrected("p2", "hello", "c", 5, user=EVE, score=0.99)).held == {"conflict": 1}


def record_all(database: Database, events: tuple[Event, ...]) -> Recorded:
    with database.engine.connect() as connection:
        made = record(connection, Batch(events=events), database.policies)
        connection.commit()
    return made
