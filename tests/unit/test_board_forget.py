"""Forgetting a user from the board: it is asked for once and for sure, and the receipt says what was deleted."""

from __future__ import annotations

import streamlit as st
from sqlalchemy import Engine

from shared.tables import Receipt
from tests.board_pages import open_page, words
from tests.board_rows import START, Rows
from tests.unit.test_board_review import Door, door, engine

__all__ = ["door", "engine"]  # fixtures


def test_a_user_is_forgotten_when_a_person_is_sure(engine: Engine, door: Door) -> None:
    Rows(engine).write()
    page = open_page("forget")
    page.text_input(key="forget-user").set_value("user-17")
    page.text_input(key="forget-app").set_value("shop").run()
    assert page.button(key="forget-send").disabled
    page.checkbox(key="forget-sure").check().run()
    page.button(key="forget-send").click().run()
    (body,) = door.bodies
    assert (body["path"], body["user"], body["app"]) == ("/v1/erasures", "user-17", "shop")
    assert door.keys == ["Bearer lb_1_secret"]
    assert "The request is durable" in words(page)
    assert "user-17" not in str(page.session_state["erasure"])
    rows = Rows(engine)
    rows.rows += [
        Receipt(
            event_id=f"{app}.{asked}", user_key="0" * 32, predictions=count, feedback=2, examples=1, dead_letters=0,
            occurred_at=START,
        )
        for app, asked, count in (("0a1b2c3d", body["event_id"], 3), ("0a1b2c3d", "other", 9))
    ]  # fmt: skip
    rows.write()
    st.cache_data.clear()  # the answer of a moment ago: not yet
    page = open_page("forget")
    page.session_state["erasure"] = body["event_id"]
    page.run()
    assert [one.value for one in page.success] == ["The user is forgotten."]
    assert [metric.value for metric in page.metric] == ["3", "2", "1", "0"]


def test_what_the_collector_refuses_is_said_and_nothing_waits(engine: Engine, door: Door) -> None:
    Rows(engine).write()
    door.status, door.answer = 403, {"code": "forbidden", "detail": "This key may not erase.", "field": "app"}
    page = open_page("forget")
    page.text_input(key="forget-user").set_value("user-17")
    page.text_input(key="forget-app").set_value("shop")
    page.checkbox(key="forget-sure").check().run()
    page.button(key="forget-send").click().run()
    assert page.error[0].value == "Nothing was deleted."
    assert "app: This key may not erase." in words(page)
    assert "erasure" not in page.session_state


def test_a_name_that_is_no_apps_is_told_before_anything_is_sent(engine: Engine, door: Door) -> None:
    Rows(engine).write()
    page = open_page("forget")
    page.text_input(key="forget-user").set_value("user-17")
    page.text_input(key="forget-app").set_value("My Shop!")
    page.checkbox(key="forget-sure").check().run()
    page.button(key="forget-send").click().run()
    assert page.error[0].value == "Nothing was deleted."
    assert not door.bodies
