"""The join: predictions and feedback in either order, each judged once, and memory that stays bounded."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import (
    Comment,
    Correction,
    Feedback,
    FeedbackReceived,
    PredictionServed,
    Preference,
    PreferencePair,
    Rating,
    ReviewDecided,
    Thumbs,
)
from services.aggregator.facts import Fact, Judged, Judgement
from services.aggregator.join import MAX_HEARD, Entry, Expiry, Place, join_feedback, join_prediction, name_output
from services.aggregator.joiner import Joiner
from shared.policy import PolicyFile
from tests.unit.events import NOON

SAID = (
    Thumbs(value="down"),
    Thumbs(value="up"),
    Rating(value=1),
    Correction(value="billing"),
    Correction(value="refund"),
)


def served(output: str = "refund") -> PredictionServed:
    return PredictionServed(
        event_id="p",
        occurred_at=NOON,
        source="test",
        prediction_id="p1",
        model="m",
        version="v0",
        input="words",
        output=output,
        app="shop",
    )


def heard(feedback: Feedback, event_id: str = "f0") -> FeedbackReceived:
    return FeedbackReceived(
        event_id=event_id,
        occurred_at=NOON + timedelta(seconds=5),
        source="test",
        prediction_id="p1",
        feedback=feedback,
        app="shop",
    )


def at(topic: str, offset: int) -> Place:
    return Place(topic, 0, offset)


def join(*said: Feedback, prediction_at: int) -> tuple[Entry | None, list[Judged]]:
    """Feedback in this order, the prediction before the one at that position."""
    entry: Entry | None = None
    facts: list[Judged | None] = []
    for offset in range(len(said) + 1):
        if offset == prediction_at:
            entry, fact = join_prediction(entry, served(), at("predictions.v1", 0))
            facts.append(fact)
        if offset < len(said):
            entry, fact = join_feedback(entry, heard(said[offset], f"f{offset}"), at("feedback.v1", offset))
            facts.append(fact)
    return entry, [fact for fact in facts if fact]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (Thumbs(value="up"), Judgement(wrong=False, right="refund")),
        (Thumbs(value="down"), Judgement(wrong=True)),
        (Rating(value=5), Judgement(wrong=False, right="refund")),
        (Rating(value=4), Judgement(wrong=False, right="refund")),
        (Rating(value=2), Judgement(wrong=True)),
        (Correction(value="billing"), Judgement(wrong=True, right="billing")),
        (Correction(value="refund"), Judgement(wrong=False, right="refund")),
    ],
)
@pytest.mark.parametrize("prediction_at", [0, 1])
def test_what_feedback_tells_in_either_order(said: Feedback, expected: Judgement, prediction_at: int) -> None:
    _, (fact,) = join(said, prediction_at=prediction_at)
    assert (fact.was, fact.now) == (None, expected)


@pytest.mark.parametrize(
    "said",
    [Rating(value=3), Comment(value="hm"), Preference(value=PreferencePair(chosen="a", rejected="b"))],
)
def test_what_judges_nothing_is_not_kept(said: Feedback) -> None:
    entry, facts = join(said, prediction_at=0)
    assert facts == []
    assert entry is not None
    assert entry.heard == ()


def test_thumbs_down_after_a_correction_keeps_the_target() -> None:
    _, facts = join(Correction(value="billing"), Thumbs(value="down"), prediction_at=0)
    assert [fact.now for fact in facts] == [Judgement(wrong=True, right="billing")]


@given(st.lists(st.sampled_from(SAID), max_size=6), st.data())
def test_facts_chain_and_end_alike_wherever_the_prediction_comes(said: list[Any], data: st.DataObject) -> None:
    _, facts = join(*said, prediction_at=data.draw(st.integers(0, len(said))))
    _, usual = join(*said, prediction_at=0)
    assert [fact.was for fact in facts] == [None, *(fact.now for fact in facts)][: len(facts)]
    assert [fact.now for fact in facts][-1:] == [fact.now for fact in usual][-1:]


@given(st.lists(st.sampled_from(SAID), min_size=1, max_size=6), st.data())
def test_a_record_read_again_tells_the_same_fact(said: list[Any], data: st.DataObject) -> None:
    prediction_at = data.draw(st.integers(0, len(said)))
    entry, facts = join(*said, prediction_at=prediction_at)
    again = [join_prediction(entry, served(), at("predictions.v1", 0))]
    again += [
        (kept, fact)
        for offset, feedback in enumerate(said)
        for kept, fact in [join_feedback(entry, heard(feedback, f"f{offset}"), at("feedback.v1", offset))]
        if kept
    ]
    assert all(kept == entry for kept, _ in again)
    told = [fact for _, fact in again if fact]
    assert sorted(told, key=str) == sorted(facts, key=str)


def test_a_repeat_by_the_sender_tells_nothing() -> None:
    entry, _ = join(Thumbs(value="down"), prediction_at=0)
    assert join_feedback(entry, heard(Thumbs(value="down"), "f0"), at("feedback.v1", 7)) == (entry, None)
    assert join_prediction(entry, served("other"), at("predictions.v1", 9)) == (entry, None)


def test_an_entry_is_bounded() -> None:
    entry, _ = join(*(SAID * 10), prediction_at=0)
    assert entry is not None
    assert len(entry.heard) == MAX_HEARD
    assert len(name_output("long " * 1000)) < 50
    assert name_output("long " * 1000) != name_output("other" * 1000)


def test_an_output_in_another_spelling_is_the_right_one() -> None:
    for filling in ("", "long " * 1000):
        prediction = served(f'{{"intent": "track", "note": "{filling}"}}')
        entry, _ = join_prediction(None, prediction, at("predictions.v1", 0))
        same = Correction(value=f'{{"note":"{filling}","intent":"track"}}')
        other = Correction(value=f'{{"note":"{filling}","intent":"cancel"}}')
        assert join_feedback(entry, heard(same), at("feedback.v1", 0))[1].now.wrong is False  # type: ignore[union-attr]
        assert join_feedback(entry, heard(other), at("feedback.v1", 0))[1].now.wrong is True  # type: ignore[union-attr]


def test_only_tags_that_are_asked_for_are_kept() -> None:
    tagged = served().model_copy(update={"tags": {"plan": "pro", "session": "of Ann"}})
    entry, _ = join_prediction(None, tagged, at("predictions.v1", 0), tags=("plan", "region"))
    _, fact = join_feedback(entry, heard(Thumbs(value="down")), at("feedback.v1", 0))
    assert fact is not None
    assert fact.tags == {"plan": "pro"}
    assert "of Ann" not in entry.model_dump_json()


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 200_000)), max_size=200), st.integers(1, 20))
def test_expiry_keeps_the_newest_and_no_more_than_its_limit(touches: list[tuple[int, int]], limit: int) -> None:
    expiry, kept = Expiry(limit), dict[str, float]()
    for number, moment in touches:
        kept.setdefault(str(number), moment)
        for gone in expiry.add(str(number), moment):
            del kept[gone]
        assert len(kept) <= limit
    assert kept or not touches


def test_a_day_later_an_entry_is_gone() -> None:
    expiry = Expiry(100)
    assert expiry.add("old", 0) == []
    assert expiry.add("new", 24 * 3600) == []
    assert expiry.add("newer", 24 * 3600 + 1) == ["old"]


@pytest.mark.parametrize("drawn", [{"solicit": True}, {"audit": True}, {}])
def test_what_is_said_of_a_prediction_that_was_drawn_teaches_nobody(drawn: dict[str, bool]) -> None:
    entry, _ = join_prediction(None, served().model_copy(update=drawn), at("predictions.v1", 0))
    _, fact = join_feedback(entry, heard(Correction(value="billing")), at("feedback.v1", 0))
    assert fact is not None
    assert fact.teaches == (not drawn)


@pytest.mark.parametrize("prediction", ["p1", None])
def test_an_audits_label_is_evidence_and_no_lesson(prediction: str | None) -> None:
    told: list[Fact] = []
    review = ReviewDecided(
        event_id="r",
        occurred_at=NOON,
        source="test",
        subject_kind="example",
        subject="e1",
        model="m",
        decision="relabel",
        target="billing",
        prediction_id=prediction,
        reviewer="rita",
    )
    nothing: Any = None  # a review is not joined
    Joiner(nothing, 10, told.append, PolicyFile()).on_review_decided(review, at("reviews.v1", 0))
    assert len(told) == (prediction is None)
