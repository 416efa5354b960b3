"""Audits: inputs drawn at random for reviewers, from the draw to evidence that no user's silence or zeal has chosen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from services.board import audits, decide, review_queue
from services.evaluator.evidence import gather
from services.recorder.digest import digest
from shared.tables import open_database
from shared.text import example_id
from tests.board_pages import open_page, words
from tests.unit.recorder_story import (
    ANN,
    BOB,
    EVE,
    MODEL,
    Database,
    added,
    corrected,
    erased,
    policy,
    reviewed,
    said,
    served,
)

pytestmark = pytest.mark.usefixtures("everywhere")


def waiting(database: Database) -> list[str]:
    return [one.text for one in audits.waiting(database.engine, MODEL)]


def judged_on(database: Database) -> list[tuple[str, str, bool]]:
    return [(row.text, row.target, row.audited) for row in gather(database.engine, MODEL, 3000, ()).solicited]


def test_what_was_drawn_is_evidence_by_the_reviewers_word_and_not_by_a_volunteers() -> None:
    database = Database()
    database.record(served("p", "lost it", audit=True), said("p", "b"), served("q", "other"))
    assert database.state("lost it") == ("holdout", "pending", "unsolicited", None)
    assert (waiting(database), judged_on(database)) == (["lost it"], [])
    database.record(reviewed("lost it", "relabel", "c", audit_of="p"))
    assert database.state("lost it") == ("holdout", "holdout", "", "c")
    assert (waiting(database), judged_on(database)) == ([], [("lost it", "c", True)])


def test_a_reviewer_is_asked_also_where_a_user_was_and_answered() -> None:
    database = Database()
    database.record(*corrected("p", "lost it", "b", solicit=True, audit=True))
    assert (waiting(database), judged_on(database)) == (["lost it"], [("lost it", "b", False)])
    database.record(reviewed("lost it", "relabel", "c", audit_of="p"))
    assert judged_on(database) == [("lost it", "c", True)]


def test_what_nobody_could_tell_waits_no_longer_and_judges_nobody() -> None:
    database = Database()
    database.record(served("p", "asdf", audit=True), reviewed("asdf", "reject", audit_of="p"))
    assert (waiting(database), judged_on(database)) == ([], [])


def test_no_text_is_taught_and_judges_however_late_the_draw_is_heard_of() -> None:
    draw, lesson = served("p", "Lost it!", audit=True), corrected("q", "it lost", "b", 9, user=BOB)
    first, second = Database(), Database()
    first.record(draw, *lesson)
    second.record(*lesson)
    assert second.state("it lost") == ("train", "train", "", "b")
    second.record(draw)
    assert first.state("it lost") == second.state("it lost") == ("holdout", "pending", "unsolicited", None)
    assert digest(first.engine) == digest(second.engine)


def test_what_was_a_lesson_before_the_draw_is_not_asked_for() -> None:
    database = Database()
    database.record(*corrected("p", "lost it", "b"), served("q", "lost it", when=9, audit=True, user=BOB))
    assert (waiting(database), database.state("lost it")) == ([], ("train", "train", "", "b"))
    database.record(served("r", "where is it", when=12, audit=True), added(database, [("where is it", "a")]))
    assert waiting(database) == []


def test_an_audit_that_nobody_labels_leaves_with_the_gates_window_and_is_a_lesson_then() -> None:
    database = Database(policy(window=2))
    for number in range(4):
        database.record(served(f"p{number}", f"text {number}", when=number, audit=True), said(f"p{number}", "b", 9))
    assert waiting(database) == ["text 2", "text 3"], "oldest first"
    assert database.state("text 0") == ("holdout", "train", "", "b")


def test_whoever_is_erased_takes_the_draw_along() -> None:
    database, other = Database(), Database()
    database.record(served("p", "my secret", audit=True), served("q", "ours", audit=True))
    database.record(served("r", "ours", when=5, audit=True, user=BOB))
    database.record(erased(ANN))
    assert (database.example("my secret"), waiting(database)) == (None, ["ours"])
    assert database.example("ours").user_key == BOB  # type: ignore[union-attr]
    other.record(erased(ANN), served("r", "ours", when=5, audit=True, user=BOB))
    other.record(served("p", "my secret", audit=True), served("q", "ours", audit=True))
    assert digest(database.engine) == digest(other.engine)


@pytest.mark.parametrize("kind", ["quarantined", "called wrong", "disputed"])
def test_no_queue_that_shows_what_was_said_holds_an_open_audit(kind: review_queue.Kind) -> None:
    database = Database()
    draws: dict[str, dict[str, Any]] = {"audited": {"audit": True}, "plain": {}}
    for name, drawn in draws.items():
        for number, (target, user) in enumerate([("b", BOB), ("c", EVE)]):
            asked = served(f"{name}{number}", name, "a", number, user=user, solicit=True, **drawn)
            database.record(asked, said(f"{name}{number}", target, 9, user=user))
    database.record(served("s", "unheard", audit=True, when=50), *corrected("t", "unheard", "b", 40))
    found = [item.text for item in review_queue.queue(database.engine, MODEL, kind)]
    assert found == (["plain"] if kind == "quarantined" else [])
    assert waiting(database) == ["audited"]


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Engine]:
    """A board on a database with one audit, of which users have said a lot."""
    url = f"sqlite:///{tmp_path}/board.db"
    monkeypatch.setenv("LEARNBACK_DATABASE_URL", url)
    monkeypatch.setenv("LEARNBACK_BOARD_REVIEWER", "ada")
    database = Database(engine=open_database(url))
    database.record(added(database, [("x", "invoice"), ("y", "delivery")]))
    asked = served("p", "where is my parcel", "SERVED", solicit=True, audit=True)
    database.record(asked, said("p", "SAID", user=BOB), said("p", "delivery", user=EVE, name="2"))
    return lambda: database.engine


def test_the_board_asks_blindly_and_sends_what_the_reviewer_says(
    board: Callable[[], Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[decide.Decision] = []
    monkeypatch.setattr(decide, "read_key", lambda _: "k")
    monkeypatch.setattr(decide, "post", lambda decided, _url, _key: sent.append(decided))
    app = open_page("review")
    app.button_group(key="queue").set_value("Audit").run()
    assert not app.exception
    shown = words(app)
    assert "where is my parcel" in shown
    assert "SERVED" not in shown
    assert "SAID" not in shown
    assert not app.dataframe
    one = example_id(MODEL, "where is my parcel")
    assert app.selectbox(key=f"target-{one}").options == ["delivery", "invoice"]
    assert app.button(key=f"send-{one}").disabled
    app.selectbox(key=f"target-{one}").set_value("invoice").run()
    app.button(key=f"send-{one}").click().run()
    [decided] = sent
    assert (decided.subject, decided.prediction_id) == (one, "p")
    assert (decided.decision, decided.target, decided.reviewer) == ("relabel", "invoice", "ada")
    assert "Nothing waits here" in words(app)
    assert board() is not None
