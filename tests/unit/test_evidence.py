"""What a candidate is judged on: answers asked for at random, the golden anchor, corrections that are still open."""

from __future__ import annotations

from functools import partial

import pytest
from sqlmodel import Session

from schemas.events import Event
from services.evaluator import evidence
from services.evaluator.evidence import Evidence, gather
from services.evaluator.rows import Row
from services.recorder.digest import digest
from tests.unit.example_rows import correction, cost, database, engine_of, example
from tests.unit.recorder_story import (
    ANN,
    BOB,
    MODEL,
    Database,
    added,
    at,
    corrected,
    crowned,
    judged,
    policy,
    reviewed,
    said,
    served,
    trained,
)

SEEDS = [("where is it", "a"), ("pay me back", "b")]
ANCHORS = [("the golden one", "a"), ("the silver one", "b")]


def told(*events: Event, window: int = 3000) -> tuple[Database, Evidence]:
    """What the recorder makes of a model's card and some events, and the evidence in it."""
    story = Database(policies=policy(window))
    story.record(added(story, SEEDS, ANCHORS), *events)
    return story, gather(story.engine, MODEL, window, ())


def texts(rows: tuple[Row, ...]) -> set[str]:
    return {row.text for row in rows}


def test_answers_that_were_asked_for_are_evidence_and_volunteered_ones_are_not() -> None:
    asked, volunteered = corrected("p", "lost it", "a", solicit=True, user=BOB), corrected("q", "my money", "b")
    story, found = told(*asked, *volunteered)
    assert [(row.text, row.target, row.user) for row in found.solicited] == [("lost it", "a", BOB)]
    assert texts(found.corrections) == {"my money"}
    assert story.state("lost it") == ("holdout", "holdout", "", "a")


def test_an_anchor_row_counts_until_a_reviewer_withdraws_it() -> None:
    _, found = told()
    assert {(row.text, row.target) for row in found.anchor} == set(ANCHORS)
    twin = corrected("p", "one golden, the", "b", solicit=True)
    story, found = told(*twin, reviewed("the silver one", "reject"))
    assert story.state("the silver one") == ("anchor", "quarantined", "rejected_by_reviewer", "b")
    assert texts(found.anchor) == {"the golden one"}
    _, found = told(reviewed("the silver one", "relabel", "a"))
    assert {(row.text, row.target) for row in found.anchor} == {("the golden one", "a"), ("the silver one", "a")}


def test_a_strict_gate_looks_only_at_what_was_first_spoken_of_since_the_champion_serves() -> None:
    asked = [corrected(f"p{number}", f"question {number}", "a", 10 * number, solicit=True) for number in range(5)]
    story, _ = told(*(event for pair in asked for event in pair))
    since = at(21)  # people answer a second after they ask
    fresh = gather(story.engine, MODEL, 3000, (), since)
    assert texts(fresh.solicited) == {"question 3", "question 4"}
    assert texts(fresh.anchor) == {text for text, _ in ANCHORS}
    assert evidence.count(story.engine, MODEL, 3000, since) == 2
    assert evidence.count(story.engine, MODEL, 3000) == 5
    assert evidence.count(story.engine, MODEL, 1, since) == 1


def test_doubtful_answers_are_no_evidence() -> None:
    unheard = corrected("p", "lost it", "nobody knows this label", solicit=True)
    rejected = corrected("q", "my money", "b", solicit=True)
    _, found = told(*unheard, *rejected, reviewed("my money", "reject"))
    assert found.solicited == ()


def test_what_the_candidate_or_its_line_has_learned_is_no_evidence() -> None:
    asked = [corrected(f"p{number}", f"question {number}", "a", number, solicit=True) for number in range(4)]
    events = [event for pair in asked for event in pair]
    learned = [trained("v0", lessons=["question 0"], labels=["a", "b"]), crowned("v0")]
    story, found = told(*events, *learned)
    assert texts(found.solicited) == {"question 1", "question 2", "question 3"}
    one = next(row for row in found.solicited if row.text == "question 2")
    again = gather(story.engine, MODEL, 3000, {one.id})
    assert texts(again.solicited) == {"question 1", "question 3"}


def test_only_the_newest_answers_are_evidence() -> None:
    asked = [corrected(f"p{number}", f"question {number}", "a", number, solicit=True) for number in range(5)]
    _, found = told(*[event for pair in asked for event in pair], window=2)
    assert texts(found.solicited) == {"question 3", "question 4"}


def test_a_correction_is_open_until_a_promoted_version_gets_it_right() -> None:
    praised = (served("q", "where is my box", "a", user=ANN), said("q", "up"))
    events = [*corrected("p", "my money", "b"), *praised]
    _, found = told(*events)
    assert texts(found.corrections) == {"my money"}, "what was right needs no fix"
    _, found = told(*events, trained("v1", labels=["a", "b"]), judged("v1", ["my money"]))
    assert texts(found.corrections) == {"my money"}, "a verdict alone fixes nothing"
    _, found = told(*events, trained("v1", labels=["a", "b"]), judged("v1", ["my money"]), crowned("v1"))
    assert found.corrections == ()


def test_other_models_are_no_evidence_and_reading_changes_nothing() -> None:
    story, _ = told(*corrected("p", "lost it", "a", solicit=True))
    before = digest(story.engine)
    assert gather(story.engine, "other", 3000, ()) == Evidence((), (), ())
    assert digest(story.engine) == before


def live_long(session: Session, length: int) -> None:
    """A long past, in which all was fixed and learned and answers graduated, and forty fresh examples."""
    for number in range(length + 40):
        old, asked = number < length, number % 4 == 0
        version = "v0" if old else None
        row = example(
            number,
            side="holdout" if asked else "train",
            status="holdout" if asked and not old else "train",
            graduated=asked and old,
            learned_in=version,
            fixed_in=version,
        )
        session.add_all([row, correction(row, solicited=asked)])
    session.commit()


def test_a_longer_log_takes_no_more_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "MOST_EXAMINED", 100)
    spent = []
    for length in (400, 4000):
        with database([]) as session:
            live_long(session, length)
            look = partial(gather, engine_of(session), MODEL, 20, ())
            found = look()
            spent.append(cost(session, look).instructions)
        assert (len(found.solicited), len(found.corrections)) == (10, 30)
    assert spent[1] < 1.2 * spent[0]


def test_a_model_that_writes_text_is_judged_on_the_same_kinds_of_rows() -> None:
    right, other = '{"intent": "track", "note": "' + "long " * 1000 + '"}', '{"intent": "cancel"}'
    same = right.replace(": ", ":")
    story = Database()
    story.record(
        added(story, [("where is it", right)], [("the golden one", other)], task="generation"),
        *corrected("p", "lost it", right, solicit=True, output=other, score=None),
        *corrected("q", "my money", right, output=other, score=None),
        *corrected("r", "spelt anew", same, output=right, score=None),  # it says that the answer was right
        served("s", "bad", other, score=None),
        said("s", "down"),
        served("t", "worse", other, score=None),
        said("t", (right, other)),
    )
    found = gather(story.engine, MODEL, 3000, ())
    assert [(row.text, row.target) for row in found.solicited] == [("lost it", right)]
    assert [(row.text, row.target) for row in found.anchor] == [("the golden one", other)]
    assert [(row.text, row.target) for row in found.corrections] == [("my money", right)]
