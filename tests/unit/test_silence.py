"""Users who are asked and do not answer: what that does to a verdict, and reviewers who answer in their place."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import Session

from services.board import audits
from services.evaluator.evidence import Evidence, gather
from services.evaluator.gate import judge, parentage
from services.evaluator.ground import Silence
from services.evaluator.silence import decided
from services.evaluator.statistics import Paired
from shared.policy import Gate
from shared.tables import Verdict
from tests.unit.recorder_story import (
    ANN,
    BOB,
    EVE,
    MODEL,
    Database,
    added,
    at,
    corrected,
    erased,
    reviewed,
    said,
    served,
)

LINEAGE = parentage("c", "c")
NO_ANCHOR = Paired((), (), ())


def paired(gains: int, losses: int, both: int = 300) -> Paired:
    champion = (0.0,) * gains + (1.0,) * losses + (1.0,) * both
    candidate = (1.0,) * gains + (0.0,) * losses + (1.0,) * both
    return Paired(champion, candidate, (None,) * len(champion))


def seen(database: Database, window: int = 3000) -> Evidence:
    return gather(database.engine, MODEL, window, ())


def asked() -> Database:
    """One user answered; Bob said nothing, and Eve something that tells nothing."""
    database = Database()
    database.record(added(database, [("seed", "a")]), *corrected("p", "lost it", "a", solicit=True))
    database.record(served("q", "my money", when=5, user=BOB, solicit=True), served("r", "unasked", when=6))
    database.record(served("s", "so so", when=7, user=EVE, solicit=True), said("s", 3, 8, user=EVE))
    database.record(served("t", "bad", when=9, user=EVE, solicit=True), said("t", "down", 10, user=EVE))
    return database


def test_silent_is_who_was_asked_and_told_neither_right_nor_wrong() -> None:
    database = asked()
    found = seen(database)
    assert [row.text for row in found.solicited] == ["lost it"]
    silent = [(row.text, row.user, row.prediction) for row in found.silent]
    assert silent == [("so so", EVE, "s"), ("my money", BOB, "q")]
    assert (found.unbounded, seen(database, window=2).unbounded) == (False, True)


def test_a_reviewer_answers_in_the_users_place() -> None:
    database = asked()
    database.record(reviewed("my money", "relabel", "b", audit_of="q"))
    found = seen(database)
    assert [(row.text, row.target, row.user, row.audited) for row in found.solicited] == [
        ("lost it", "a", ANN, False),
        ("my money", "b", BOB, False),
    ]
    assert [row.text for row in found.silent] == ["so so"]
    database.record(reviewed("so so", "reject", audit_of="s"))
    assert seen(database).silent == ()
    assert len(seen(database).solicited) == 2
    assert decided(database.engine, MODEL, ["q", "s", "p"]) == 2


def test_a_late_answer_is_heard_once_and_the_reviewers_word_stands() -> None:
    database = asked()
    database.record(reviewed("my money", "relabel", "b", audit_of="q"), said("q", "a", 200, user=BOB))
    assert {(row.text, row.target) for row in seen(database).solicited} == {("lost it", "a"), ("my money", "b")}


@pytest.mark.parametrize("lesson", ["My money!", "money my"])
def test_what_became_a_lesson_is_not_silent_evidence(lesson: str) -> None:
    database = asked()
    database.record(reviewed("my money", "relabel", "b", audit_of="q"), *corrected("u", lesson, "a", 20))
    assert [row.text for row in seen(database).solicited] == ["lost it"]
    assert [row.text for row in seen(database).silent] == ["so so"]


def test_the_silence_of_who_is_erased_is_gone() -> None:
    database = asked()
    database.record(reviewed("my money", "relabel", "b", audit_of="q"), erased(BOB))
    assert [row.text for row in seen(database).solicited] == ["lost it"]


def test_the_board_asks_for_what_the_gate_waits_for_until_it_is_labelled() -> None:
    database = asked()
    with Session(database.engine) as session:
        figures: dict[str, Any] = {
            "champion": "v0",
            "reason": "",
            "champion_accuracy": None,
            "candidate_accuracy": None,
            "evidence": 1,
        }
        left: dict[str, Any] = {
            "labels_to_decide": 2,
            "alpha": None,
            "alpha_left": None,
            "decided_by": "gate",
            "occurred_at": at(60),
        }
        waits: dict[str, Any] = {
            "event_id": "w",
            "model": MODEL,
            "candidate": "v1",
            "outcome": "inconclusive",
            "silent": ["q", "s"],
        }
        session.add(Verdict(**waits, **figures, **left))
        session.commit()
    assert [one.text for one in audits.waiting(database.engine, MODEL)] == ["my money", "so so"]
    database.record(reviewed("my money", "relabel", "b", audit_of="q"))
    assert [one.text for one in audits.waiting(database.engine, MODEL)] == ["so so"]


def test_silence_counts_against_a_candidate_and_the_verdict_says_what_would_decide() -> None:
    evidence = paired(gains=30, losses=8)
    assert judge(evidence, NO_ANCHOR, LINEAGE, 0, Gate()).outcome == "promote"
    kept = judge(evidence, NO_ANCHOR, LINEAGE, 0, Gate(), silence=Silence((None,) * 3))
    assert kept.outcome == "promote"
    assert "3 inputs without one" in kept.reason
    waits = judge(evidence, NO_ANCHOR, LINEAGE, 0, Gate(), silence=Silence((None,) * 12))
    assert waits.outcome == "inconclusive"
    assert "silent on 12 inputs" in waits.reason
    assert (waits.labels_to_decide or 0) >= 12
    trusting = judge(evidence, NO_ANCHOR, LINEAGE, 0, Gate(silence="fair"), silence=Silence((None,) * 12))
    assert trusting.outcome == "promote"


def test_a_test_that_silence_has_decided_is_not_made_and_costs_nothing() -> None:
    verdict = judge(paired(gains=20, losses=0), NO_ANCHOR, LINEAGE, 0, Gate(), silence=Silence((None,) * 40))
    assert (verdict.outcome, verdict.alpha) == ("inconclusive", None)


def test_audits_decide_whoever_is_silent() -> None:
    evidence = paired(gains=30, losses=8)
    audited = tuple(range(12))  # gains, all of them
    verdict = judge(evidence, NO_ANCHOR, LINEAGE, 0, Gate(), silence=Silence((None,) * 400, audited))
    assert verdict.outcome == "promote"
    assert "on 12 audits" in verdict.reason
    few = judge(evidence, NO_ANCHOR, LINEAGE, 0, Gate(), silence=Silence((), audited[:3], unbounded=True))
    assert few.outcome == "inconclusive"
    assert "audits decide" in few.reason


def test_a_silent_user_is_one_voice_however_often_asked() -> None:
    evidence = Paired((0.0,) * 12, (1.0,) * 12, tuple(f"u{number}" for number in range(12)))
    verdict = judge(evidence, NO_ANCHOR, LINEAGE, 0, Gate(), silence=Silence(("u0",) * 50))
    assert verdict.outcome == "inconclusive"
    assert evidence.against(("u0",) * 50).by_user() == (11, 1)
