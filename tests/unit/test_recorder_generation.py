"""The recorder on models that write text: long outputs, JSON however it is spelt, and no labels to admit."""

from __future__ import annotations

import random
from typing import Any

import pytest
from sqlalchemy import event as sql_event

from schemas.events import MAX_OUTPUT
from services.recorder.digest import digest
from shared.tables import Example, FeedbackRow, ModelRow, Prediction, Vouched
from tests.unit.recorder_story import (
    ANN,
    BOB,
    EVE,
    MODEL,
    Database,
    Value,
    added,
    at,
    corrected,
    erased,
    policy,
    reviewed,
    said,
    served,
)

pytestmark = pytest.mark.usefixtures("everywhere")

SERVED = '{"intent": "track", "slots": {"order": "17"}}'
SAME = '{"slots":{"order":"17"},"intent":"track"}'
RIGHT = '{"intent": "cancel", "slots": {"order": "17"}}'
RIGHT_TOO = ' {"slots": {"order": "17"}, "intent": "cancel"}\n'


@pytest.fixture
def database(everywhere: None) -> Database:
    made = Database()
    made.record(added(made, [("first", SERVED), ("second", RIGHT)], task="generation"))
    return made


def noise(seed: int) -> str:
    """The longest output there may be, which nothing can compress: 30 kB of UTF-8."""
    rng = random.Random(seed)
    return "".join(chr(rng.randrange(0x4E00, 0x9FFF)) for _ in range(MAX_OUTPUT))


def test_the_longest_outputs_are_recorded_wherever_they_come_from(everywhere: None) -> None:
    database = Database()
    database.record(
        added(database, [("seed", noise(1))], [("golden", noise(2))], task="generation"),
        served("p", "asked", noise(3), score=None),
        said("p", noise(4)),
        said("p", (noise(5), noise(6)), name="-pair"),
        served("q", "asked too", "x"),
        reviewed("asked too", "relabel", noise(7)),
        said("q", noise(8)),
    )
    assert database.state("seed") == ("train", "train", "", noise(1))
    assert database.state("golden") == ("anchor", "holdout", "", noise(2))
    assert database.state("asked") == ("train", "train", "", noise(4))
    assert database.state("asked too") == ("train", "train", "", noise(7))
    assert {row.output for row in database.rows(Prediction)} == {noise(3), "x"}
    pair = next(row.value for row in database.rows(FeedbackRow) if row.kind == "preference")
    assert pair == {"chosen": noise(5), "rejected": noise(6)}


def test_a_classifier_is_not_stopped_by_a_label_as_long_as_a_book(everywhere: None) -> None:
    database = Database()
    database.record(added(database, [("x", "a"), ("y", "b")]))
    for number, user in enumerate((ANN, BOB, EVE)):
        database.record(*corrected(f"p{number}", f"text {number}", noise(1), number, user=user))
    assert database.state("text 0") == ("train", "pending", "new_label", noise(1))
    assert [row.labels for row in database.rows(ModelRow)] == [["a", "b"]]


def test_every_output_is_a_lesson_at_once_and_none_becomes_a_label(database: Database) -> None:
    database.record(*corrected("p", "where is order 17?", RIGHT))
    assert database.state("where is order 17?") == ("train", "train", "", RIGHT)
    assert [row.labels for row in database.rows(ModelRow)] == [[]]
    assert database.state("first") == ("train", "train", "", SERVED)
    assert {row.target for row in database.rows(Vouched)} == {SERVED, RIGHT}


def test_a_correction_in_another_spelling_says_that_the_output_was_right(database: Database) -> None:
    database.record(served("p", "where is order 17?", SERVED), said("p", SAME))
    told = database.rows(FeedbackRow)[0]
    assert (told.wrong, told.target) == (False, SAME)  # as it was written


def test_voices_agree_whatever_they_spell_and_the_first_is_kept_as_written() -> None:
    database = Database(policy(quorum=2))
    database.record(*corrected("p", "stop it", RIGHT_TOO, 1))
    assert database.state("stop it") == ("train", "pending", "quorum", RIGHT_TOO.strip())
    database.record(*corrected("q", "stop it", RIGHT, 5, user=BOB))
    assert database.state("stop it") == ("train", "train", "", RIGHT_TOO.strip())
    late, early = corrected("r", "stop it", RIGHT.replace(" ", ""), -5, user=EVE), database.example("stop it")
    database.record(*late)
    assert database.state("stop it") == ("train", "train", "", RIGHT.replace(" ", ""))
    now = database.example("stop it")
    assert early is not None
    assert now is not None
    assert (early.weight, early.votes) == (0.75, 2)
    assert (now.weight, now.votes) == (0.875, 3)


def test_trust_is_earned_by_saying_the_same_in_other_words(database: Database) -> None:
    database.record(
        *corrected("p", "stop it", RIGHT, 1, solicit=True),
        *corrected("q", "stop it", RIGHT_TOO, 3, user=BOB),
        *corrected("r", "stop it", SERVED, 5, user=EVE),
    )
    agrees = {row.user_key: row.agrees for row in database.rows(FeedbackRow)}
    assert agrees == {ANN: None, BOB: True, EVE: False}


def test_a_version_without_scores_is_never_too_sure_to_be_corrected(database: Database) -> None:
    database.record(served("p", "stop it", SERVED, score=None), said("p", RIGHT, user=BOB))
    assert database.state("stop it") == ("train", "train", "", RIGHT)


def test_the_order_in_which_spellings_come_changes_nothing() -> None:
    events = [
        *corrected("p", "stop it", RIGHT, 1),
        *corrected("q", "stop it", RIGHT_TOO, 1, user=BOB),
        *corrected("r", "stop it", SAME, 2, user=EVE),
        served("s", "stop it", SERVED, 3),
        said("s", "up", 4, user=None),
    ]
    digests = set()
    for turn in range(4):
        database = Database()
        for event in random.Random(turn).sample(events, len(events)):
            database.record(event)
        digests.add(digest(database.engine))
    assert len(digests) == 1


@pytest.mark.parametrize("everywhere", ["sqlite"], indirect=True)
def test_labels_are_found_by_their_indexes(everywhere: None) -> None:
    database, plans = Database(), list[str]()
    database.record(added(database, [("x", "a"), ("y", "b")]))

    def explain(connection: Any, _cursor: object, statement: str, values: Any, _context: object, many: bool) -> None:
        if statement.startswith("SELECT") and "length(" in statement:
            cursor = connection.connection.driver_connection.cursor()
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", values[0] if many else values)
            plans.extend(row[3] for row in cursor)

    sql_event.listen(database.engine, "before_cursor_execute", explain)
    for number, user in enumerate((ANN, BOB, EVE)):
        database.record(*corrected(f"p{number}", f"text {number}", "new", number, user=user))
    database.record(reviewed("text 0", "accept"))
    for name in ("vouched_by_label", "feedback_by_label", "example_by_label", "example_by_ruling"):
        assert any(f"{name} (model=? AND target=?" in plan for plan in plans), name


def test_what_was_said_of_generation_is_kept_whole(database: Database) -> None:
    database.record(
        served("p", "stop it", SERVED),
        said("p", (RIGHT, SERVED), name="-pair"),
        said("p", "down", 2, name="-thumb"),
        said("p", 5, 3, name="-stars"),
    )
    kept = {row.kind: (row.value, row.model, row.wrong, row.target) for row in database.rows(FeedbackRow)}
    assert kept == {
        "preference": ({"chosen": RIGHT, "rejected": SERVED}, MODEL, None, None),
        "thumbs": ("down", MODEL, True, None),
        "rating": (5, MODEL, False, SERVED),
    }
    example = next(row for row in database.rows(Example) if row.text == "stop it")
    assert (example.target, example.first_at) == (SERVED, at(1))


@pytest.mark.parametrize("value", ["down", 1, (RIGHT, SERVED)])
def test_what_names_no_output_fixes_the_side_of_its_text_too(database: Database, value: Value) -> None:
    database.record(served("p", "stop it", SERVED), said("p", value))
    assert database.state("stop it") == ("train", "pending", "no_target", None)
    database.record(*corrected("q", "it: STOP!", RIGHT, 5, user=BOB, solicit=True))
    assert database.state("it: STOP!") == ("train", "train", "", RIGHT)  # or a lesson would be there to judge
    database.record(served("r", "go on", SERVED, 6, solicit=True), said("r", value, 7))
    database.record(*corrected("s", "go on", RIGHT, 9, user=BOB))
    assert database.state("go on") == ("holdout", "pending", "unsolicited", None)


def test_an_answer_that_nobody_judged_says_nothing(database: Database) -> None:
    database.record(served("p", "stop it", SERVED), said("p", 3))
    assert database.example("stop it") is None


def test_an_input_that_was_only_called_wrong_is_forgotten_with_its_user(database: Database) -> None:
    database.record(
        served("p", "stop it", SERVED),
        said("p", "down"),
        served("q", "go on", SERVED, user=BOB),
        said("q", "down", user=BOB),
        said("q", "down", 0.5, name="-ann"),
        erased(ANN),
    )
    assert database.example("stop it") is None
    kept = database.example("go on")
    assert kept is not None
    assert (kept.user_key, kept.status, kept.reason) == (BOB, "pending", "no_target")
