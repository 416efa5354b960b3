"""The page of the champion: who serves, who is on trial, and a reviewer's decision on its way to the collector."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from services.board.aliases import aliases, decisions, hold
from shared.tables import Decision, Review
from tests.board_pages import column, open_page, words
from tests.board_rows import MODEL, Rows
from tests.unit.test_board_review import Door, door, engine

__all__ = ["door", "engine"]  # fixtures


@pytest.fixture
def rows(engine: Engine) -> Rows:
    """v1 serves, v0 did before, and v2 waits."""
    rows = Rows(engine)
    rows.add_model(["invoice"])
    rows.champion(rows.version(0, 1), 2)
    rows.champion(rows.version(1, 3, 0), 4, previous=f"{MODEL}-00")
    rows.version(2, 5, 1)
    rows.write()
    rows.rows.clear()
    return rows


def decide(rows: Rows, name: str, decision: str, version: int, seconds: float, **answer: str) -> None:
    """A decision, and its answer if it has one."""
    subject = f"{MODEL}-{version:02d}"
    rows.rows.append(
        Review(
            event_id=name, subject_kind="version", subject=subject, model=MODEL, decision=decision, target=None,
            label=None, reviewer="ada", note="so it shall be", occurred_at=rows.at(seconds),
        )
    )  # fmt: skip
    for number, (outcome, reason) in enumerate(answer.items()):
        rows.rows.append(
            Decision(
                event_id=f"{name}-{outcome}", model=MODEL, review=name, version=subject, decision=decision,
                reviewer="ada", outcome=outcome, reason=reason, occurred_at=rows.at(seconds + 1 + number),
            )
        )  # fmt: skip
    rows.write()
    rows.rows.clear()


def test_the_last_states_tell_who_serves_and_who_is_on_trial(rows: Rows, engine: Engine) -> None:
    assert aliases(engine, MODEL).canary is None
    rows.canary(f"{MODEL}-02", 0.2, 6)
    rows.write()
    now = aliases(engine, MODEL)
    assert now.champion is not None
    assert now.canary is not None
    assert (now.champion.name, now.champion.share) == ("v1", 0.8)
    assert (now.canary.name, now.canary.share, now.canary.since) == ("v2", 0.2, rows.at(6))
    rows.rows.clear()
    rows.canary(f"{MODEL}-02", 0.0, 7)
    rows.write()
    assert aliases(engine, MODEL).canary is None


def test_a_decision_is_shown_with_the_last_answer_to_it(rows: Rows, engine: Engine) -> None:
    decide(rows, "r1", "promote", 2, 10, waits="Waits for a second reviewer.", refused="Dropped.")
    decide(rows, "r2", "rollback", 0, 20)
    second, first = decisions(engine, MODEL)
    assert (first.name, first.outcome, first.answer) == ("v2", "refused", "Dropped.")
    assert (second.name, second.outcome) == ("v0", "sent")


def test_a_hold_is_shown_until_it_is_released(rows: Rows, engine: Engine) -> None:
    decide(rows, "r1", "hold", 1, 10, done="The loop leaves it.")
    held = hold(engine, MODEL)
    assert held is not None
    assert held.reviewer == "ada"
    assert "so it shall be" in words(open_page("champion"))
    decide(rows, "r2", "release", 1, 20, waits="Waits.")
    assert hold(engine, MODEL) is not None
    decide(rows, "r3", "release", 1, 30, done="It may go on.")
    assert hold(engine, MODEL) is None


@pytest.mark.usefixtures("door")
def test_the_page_shows_both_and_what_was_decided(rows: Rows) -> None:
    rows.canary(f"{MODEL}-02", 0.2, 6)
    decide(rows, "r1", "promote", 2, 10, refused="No such files.")
    app = open_page("champion")
    assert "Champion: v1" in words(app)
    assert "Canary: v2" in words(app)
    assert column(app, "Became") == ["refused"]
    assert column(app, "Answer") == ["No such files."]


@pytest.mark.parametrize(("version", "decision"), [(0, "rollback"), (1, "hold"), (2, "promote")])
@pytest.mark.usefixtures("rows")
def test_a_decision_needs_a_reason_and_reaches_the_collector(version: int, decision: str, door: Door) -> None:
    subject = f"{MODEL}-{version:02d}"
    app = open_page("champion").selectbox(key="version").set_value(subject).run()
    assert app.button(key="send-version").disabled, "why?"
    app.text_input(key=f"note-{subject}").set_value("a customer called").run()
    app = app.button(key="send-version").click().run()
    assert app.success[0].value == f"Decision sent: {decision}."
    [body] = door.bodies
    assert (body["path"], body["subject_kind"], body["subject"]) == ("/v1/reviews", "version", subject)
    assert (body["decision"], body["reviewer"], body["note"]) == (decision, "ada", "a customer called")


@pytest.mark.usefixtures("rows")
def test_a_champion_is_released_too(door: Door) -> None:
    app = open_page("champion").selectbox(key="version").set_value(f"{MODEL}-01").run()
    app.button_group(key=f"on-{MODEL}-01").set_value("release").run()
    app.text_input(key=f"note-{MODEL}-01").set_value("it is over").run()
    app.button(key="send-version").click().run()
    assert [body["decision"] for body in door.bodies] == ["release"]
