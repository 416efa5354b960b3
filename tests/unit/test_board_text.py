"""The board on a model that writes text: its outputs whole and readable, and nothing that only labels have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine

from services.board import failures, review_queue, words
from shared.tables import open_database
from tests.board_letters import ASKED, DISLIKED, DISPUTED, LONG, SPELT, answer, letters
from tests.board_pages import column, open_page
from tests.board_pages import words as read
from tests.unit.recorder_story import MODEL

PAGES = ("overview", "errors", "models", "review")


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The database of a model that writes JSON."""
    url = f"sqlite:///{tmp_path}/board.db"
    monkeypatch.setenv("LEARNBACK_DATABASE_URL", url)
    engine = open_database(url)
    letters(engine)
    return engine


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_it_and_speaks_of_no_labels(page: str, engine: Engine) -> None:
    app = open_page(page)
    assert not app.exception
    assert not app.error
    assert "label" not in read(app).lower()
    assert not any({"Labels", "Label"} & {*table.value} for table in app.dataframe)


def test_errors_are_counted_by_app_and_tag(engine: Engine) -> None:
    app = open_page("errors")
    assert app.button_group(key="kind").options == ["Apps", "Tags"]
    assert column(app, "App")[0] == "shop"
    app.button_group(key="kind").set_value("Tags").run()
    assert column(app, "Tag") == ["plan:pro", "plan:free"]
    app.selectbox(key="slice").set_value("tag=plan:pro").run()
    assert column(app, "Input") == [one.text for one in failures.failures(engine, MODEL, "tag=plan:pro")]
    wrong = failures.failures(engine, MODEL)
    by_plan = [failures.failures(engine, MODEL, f"tag=plan:{plan}") for plan in ("pro", "free", "nobody's")]
    assert [len(some) for some in by_plan] == [10, 15, 0]
    assert len(wrong) > 25  # with those that have no tag


def test_what_waits_is_shown_whole(engine: Engine) -> None:
    app = open_page("review")
    assert app.button_group(key="queue").options == ["Quarantined (1)", "Called wrong (1)", "Disputed (1)", "Audit (0)"]
    shown = [cell.value for cell in app.code]
    assert shown[0] == DISPUTED
    assert LONG in shown
    assert {json.dumps(json.loads(answer(n)), indent=2) for n in (7, 8)} <= set(shown)
    assert {cell.language for cell in app.code} == {"json", "plaintext"}


def test_a_reviewer_begins_with_what_was_written(engine: Engine) -> None:
    app = open_page("review")
    app.button_group(key="queue").set_value("Called wrong").run()
    assert DISLIKED in read(app)
    assert [area.value for area in app.text_area] == [answer(9)]
    assert column(app, "Would be learned as") == ["–"]


def test_one_output_in_two_spellings_is_no_dispute(engine: Engine) -> None:
    audited = review_queue.queue(engine, MODEL, "disputed")
    assert SPELT not in [item.text for item in audited]
    (doubt,) = review_queue.queue(engine, MODEL, "quarantined")
    assert doubt.voices == ((answer(7), 1), (answer(8), 1))


@pytest.mark.parametrize("text", ["refund", "{refund", "[1, 2", "[" * 5000, '"a"', "12", ""])
def test_what_is_no_json_is_shown_as_it_is(text: str) -> None:
    assert words.structured(text) is None


def test_json_is_shown_with_a_line_for_each_part() -> None:
    assert words.structured(' {"stadt":"Köln"}') == '{\n  "stadt": "Köln"\n}'
    assert words.structured(ASKED) is None
