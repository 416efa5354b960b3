"""Slices, failures and the review queue on rows that can be counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from services.board import failures, review_queue, slices
from shared.tables import open_database
from tests.board_rows import MODEL, Rows


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_database(f"sqlite:///{tmp_path}/board.db")


def test_slices_are_ranked_by_failures_and_compared_across_the_newest_promotion(engine: Engine) -> None:
    rows = Rows(engine)
    rows.champion("v0", 0)
    rows.champion("v1", 600, "v0")
    for minute in range(20):
        rows.slice("label=a", minute * 60, 10, 8 if minute < 10 else 1)
        rows.slice("label=b", minute * 60, 100, 10)
        rows.slice("app=shop", minute * 60, 10, 9)
    rows.write()
    worst = slices.worst(engine, MODEL, "label")
    assert [(one.name, one.errors.hits, one.errors.n) for one in worst] == [("b", 200, 2000), ("a", 90, 200)]
    assert (worst[1].before.n, worst[1].before.value, worst[1].after.value) == (100, 0.8, 0.1)
    assert sum(worst[1].bars) == 90
    assert slices.worst(engine, MODEL, "label", since=rows.at(600))[0].errors.n == 1000


def test_failures_of_a_slice_tell_where_their_lesson_stands(engine: Engine) -> None:
    rows = Rows(engine)
    v0, v1 = rows.version(0, 1), rows.version(1, 50, parent=0)
    for number, (fixed, learned) in enumerate([(v1, v1), (None, v1), (None, None)]):
        rows.example(f"e{number}", fixed_in=fixed, learned_in=learned)
        served = rows.prediction(v0, number, output="delivery", example_id=f"e{number}", app="mobile")
        rows.say(served, 10 + number, "thumbs", wrong=True, app="mobile")
        rows.say(served, 20 + number, "correction", target="invoice", wrong=True, app="mobile")
    rows.say(rows.prediction(v0, 30), 31, wrong=True)
    rows.write()
    found = failures.failures(engine, MODEL, "confusion=delivery→invoice")
    assert [one.state for one in found] == ["waiting to be learned", "learned in v1", "fixed in v1"]
    assert {(one.answered, one.right) for one in found} == {("delivery", "invoice")}
    assert len(failures.failures(engine, MODEL, "label=invoice")) == 3
    assert len(failures.failures(engine, MODEL, "label=delivery")) == 1  # the right output was never told
    assert len(failures.failures(engine, MODEL, app="mobile")) == 3


def test_the_slice_of_new_labels_holds_what_no_version_answers_with(engine: Engine) -> None:
    rows = Rows(engine)
    v0 = rows.version(0, 1, labels=["delivery", "invoice"])
    for number, right in enumerate(["gift card", "invoice", "pets"]):
        rows.say(rows.prediction(v0, number, output="delivery"), 9, "correction", target=right, wrong=True)
    rows.write()
    for name in ("label=(new)", "confusion=delivery→(new)"):
        found = failures.failures(engine, MODEL, name)
        assert {one.right for one in found} == {"gift card", "pets"}


def test_the_queue_holds_what_a_person_can_decide(engine: Engine) -> None:
    rows = Rows(engine)
    rows.add_model(["delivery"])
    rows.example("doubt", "quarantined", reason="conflict")
    rows.example("twin", "quarantined", reason="anchor_twin")
    rows.example("new", "pending", reason="new_label", target="gift card")
    rows.example("few", "pending", reason="quorum")
    rows.example("dispute", "train", votes=2)
    rows.example("settled", "quarantined", reason="conflict", reviewed="accept")
    served = rows.prediction("v0", 5, example_id="dispute", output="delivery", score=0.7)
    rows.say(served, 6, target="delivery", example_id="dispute")
    rows.say(served, 7, "correction", target="invoice", wrong=True, example_id="dispute")
    rows.write()
    kinds: dict[review_queue.Kind, list[str]] = {
        "quarantined": ["doubt"],
        "new label": ["new"],
        "disputed": ["dispute"],
    }
    for kind, expected in kinds.items():
        assert [item.example_id for item in review_queue.queue(engine, MODEL, kind)] == expected
    (item,) = review_queue.queue(engine, MODEL, "disputed")
    assert item.voices == (("delivery", 1), ("invoice", 1))
    assert item.served == review_queue.Served("delivery", 0.7, "v0")
