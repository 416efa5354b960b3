"""Solicited answers as trials hear them: the first word on each prediction, in order, at a bounded cost."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.dialects import sqlite

from services.evaluator.answers import read_answers, read_audits, read_silent, statement
from tests.unit.recorder_story import ANN, BOB, EVE, MODEL, Database, at, decided, reviewed, said, served


def test_the_first_word_on_each_solicited_prediction_is_heard_in_the_order_it_came() -> None:
    database = Database()
    database.record(
        served("p1", "where is it", "a", 10, user=ANN, solicit=True),
        served("p2", "who is it", "a", 11, user=BOB, solicit=True, version="v1"),
        served("p3", "what is it", "a", 12, user=EVE),  # volunteered
        served("p4", "why is it", "a", 1, user=EVE, solicit=True),  # before the trial
        served("p5", "how is it", "a", 13, user=EVE, solicit=True, version="v9"),  # another version
        *(said(f"p{number}", "b", 20 + number, user=None) for number in (3, 4, 5)),
        said("p1", "b", 30, user=ANN),
        said("p1", "up", 40, user=ANN, name="-later"),
        said("p2", "up", 20, user=BOB),
    )
    found = read_answers(database.engine, MODEL, ("v0", "v1"), at(5), 10)
    assert [(one.prediction, one.version, one.right, one.target, one.user) for one in found] == [
        ("p2", "v1", True, "a", BOB),
        ("p1", "v0", False, "b", ANN),
    ]
    assert len(read_answers(database.engine, MODEL, ("v0", "v1"), at(5), 1)) == 1


def test_targets_are_read_as_the_labels_stand_now() -> None:
    database = Database()
    database.record(served("p1", "where is it", "a", 10, solicit=True), said("p1", "b", 11))
    database.record(decided("b", "merge", "c", when=20))
    [found] = read_answers(database.engine, MODEL, ("v0",), at(0), 10)
    assert found.target == "c"


def test_what_was_volunteered_is_not_read() -> None:
    asked = statement(MODEL, ("v0",), at(0), 10).compile(
        dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}
    )
    with Database().engine.connect() as connection:
        plan = " ".join(str(row) for row in connection.execute(text(f"EXPLAIN QUERY PLAN {asked}")))
    assert "feedback_solicited" in plan


def test_silent_is_who_was_asked_and_told_neither_right_nor_wrong_in_the_order_of_asking() -> None:
    database = Database()
    database.record(
        served("p1", "where is it", when=10, user=ANN, solicit=True),
        served("p2", "who is it", when=11, user=BOB, solicit=True),
        served("p3", "what is it", when=12, user=EVE),  # not asked
        served("p4", "why is it", when=1, user=EVE, solicit=True),  # before the watch
        served("p5", "how is it", when=13, user=EVE, solicit=True, version="v9"),  # another version
        served("p6", "so what", when=14, user=EVE, solicit=True),
        served("p7", "so so", when=9, user=EVE, solicit=True),
        said("p1", "down", 30, user=ANN),
        said("p7", 3, 31, user=EVE),  # three stars
        reviewed("so what", "relabel", "b", audit_of="p6"),
    )
    found = read_silent(database.engine, MODEL, "v0", at(5), 10)
    assert [(one.prediction, one.input, one.user) for one in found] == [("p7", "so so", EVE), ("p2", "who is it", BOB)]
    assert len(read_silent(database.engine, MODEL, "v0", at(5), 1)) == 1


def test_audits_are_what_reviewers_say_of_what_was_drawn_each_input_once() -> None:
    database = Database()
    database.record(
        served("p1", "where is it", "a", 10, user=ANN, audit=True),
        served("p2", "who is it", "a", 11, user=BOB, audit=True),
        served("p3", "where is it", "a", 12, user=EVE, audit=True),  # the input again
        served("p4", "why is it", "a", 13, user=EVE, audit=True, version="v9"),
        served("p5", "how is it", "a", 14, user=EVE, audit=True),  # nobody could tell
        served("p6", "what is it", "a", 15, user=EVE, audit=True),  # not labelled yet
        reviewed("who is it", "relabel", "a", 20, audit_of="p2"),
        reviewed("where is it", "relabel", "b", 21, audit_of="p1"),
        reviewed("why is it", "relabel", "b", 22, audit_of="p4"),
        reviewed("how is it", "reject", None, 23, audit_of="p5"),
    )
    found = read_audits(database.engine, MODEL, "v0", at(5), 10)
    assert [(one.prediction, one.right, one.target) for one in found] == [("p2", True, "a"), ("p1", False, "b")]
