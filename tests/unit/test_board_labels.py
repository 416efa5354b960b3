"""The page of labels: what each one stands for, and a decision on its way to the collector."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine
from streamlit.testing.v1 import AppTest

from shared.tables import Review
from tests.board_pages import column, open_page, words
from tests.board_rows import MODEL, Rows
from tests.unit.test_board_review import Door, door, engine

__all__ = ["door", "engine"]  # fixtures


@pytest.fixture
def some(engine: Engine) -> None:
    """Three labels that stand; one was merged, one retired, and the champion knows both still."""
    rows = Rows(engine)
    rows.add_model(["delivery", "invoice", "refund"])
    rows.champion(rows.version(0, 1, labels=["delivery", "invoice", "parcel", "pets"]), 2)
    rows.example("e1", target="delivery")
    rows.example("e2", "holdout", target="delivery")
    for number, (label, decision, target) in enumerate([("parcel", "merge", "delivery"), ("pets", "retire", None)]):
        rows.rows.append(
            Review(
                event_id=f"rv{number}", subject_kind="label", subject=label, model=MODEL, decision=decision,
                target=target, label=label, reviewer="ada", note="", occurred_at=rows.at(number),
            )
        )  # fmt: skip
    rows.write()


def chosen(label: str) -> AppTest:
    return open_page("labels").selectbox(key="label").set_value(label).run()


@pytest.mark.usefixtures("some", "door")
def test_every_label_is_shown_with_what_it_stands_for() -> None:
    app = open_page("labels")
    assert dict(zip(column(app, "Label"), column(app, "State"), strict=True)) == {
        "delivery": "stands",
        "invoice": "stands",
        "parcel": "merged into delivery, from the next version on",
        "pets": "retired, from the next version on",
        "refund": "not learned yet",
    }
    assert (column(app, "Lessons")[0], column(app, "Evidence")[0]) == (1, 1)


@pytest.mark.usefixtures("some")
def test_a_merge_reaches_the_collector(door: Door) -> None:
    app = chosen("invoice")
    assert app.button(key="send-label").disabled, "into which?"
    app.selectbox(key="target-invoice").set_value("refund").run()
    app = app.button(key="send-label").click().run()
    assert app.success[0].value == "Decision sent: merge."
    assert door.bodies == [
        {
            "path": "/v1/reviews",
            "subject_kind": "label",
            "label": "invoice",
            "model": MODEL,
            "decision": "merge",
            "target": "refund",
            "reviewer": "ada",
            "note": "",
        }
    ]


@pytest.mark.usefixtures("some")
def test_a_label_is_retired_and_restored(door: Door) -> None:
    app = chosen("invoice")
    app.button_group(key="action-invoice").set_value("retire").run()
    app.button(key="send-label").click().run()
    chosen("pets").button(key="send-label").click().run()
    assert [(body["label"], body["decision"]) for body in door.bodies] == [("invoice", "retire"), ("pets", "restore")]


@pytest.mark.usefixtures("some")
def test_a_refusal_is_told_in_the_collectors_words(door: Door) -> None:
    door.status, door.answer = (
        403,
        {"title": "Forbidden", "detail": "This key has no scope review.", "code": "forbidden"},
    )
    app = chosen("pets").button(key="send-label").click().run()
    assert app.error[0].value == "The decision was not taken."
    assert "This key has no scope review." in words(app)


def test_a_model_that_writes_text_has_none(engine: Engine) -> None:
    rows = Rows(engine)
    rows.add_model([])
    rows.rows[-1].task = "generation"
    rows.write()
    assert "has no labels" in open_page("labels").info[0].value
