"""Each page of the board by Streamlit's own test client, on a real database."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine
from streamlit.testing.v1 import AppTest

from shared.tables import open_database
from tests.board_life import life
from tests.board_pages import BOARD, SECONDS, column, open_page, words
from tests.board_rows import MODEL, Rows

PAGES = (
    "overview",
    "errors",
    "models",
    "champion",
    "review",
    "labels",
)  # those of a model; health is of the whole installation


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a database with a model's whole life."""
    url = f"sqlite:///{tmp_path_factory.mktemp('board')}/board.db"
    life(open_database(url), predictions=1500, ends=datetime.now(UTC))
    return url


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An empty database that the board looks at."""
    url = f"sqlite:///{tmp_path}/board.db"
    monkeypatch.setenv("LEARNBACK_DATABASE_URL", url)
    return open_database(url)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_a_models_life(page: str, lived: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARNBACK_DATABASE_URL", lived)
    app = open_page(page)
    assert not app.exception
    assert not app.error
    assert len(app.dataframe) or page in ("overview", "champion")


def test_the_board_opens_on_the_overview_and_keeps_the_chosen_model(engine: Engine) -> None:
    for model in ("help-desk", "search"):
        rows = Rows(engine, model)
        rows.add_model([])
        rows.write()
    app = AppTest.from_file(BOARD / "app.py", default_timeout=SECONDS).run()
    assert app.title[0].value == "help-desk"
    app.selectbox[0].set_value("search").run()
    assert app.title[0].value == "search"
    app.switch_page("views/models.py").run()
    assert (app.title[0].value, app.selectbox[0].value) == ("Models", "search")


@pytest.mark.parametrize("page", PAGES)
def test_without_a_database_every_page_says_what_to_do(page: str, engine: Engine, tmp_path: Path) -> None:
    app = open_page(page)
    assert not app.exception
    assert "Start the recorder" in app.info[0].value
    assert not (tmp_path / "board.db").exists()


def test_without_tables_it_says_who_makes_them(engine: Engine) -> None:
    engine.connect().close()
    assert "has no tables yet" in open_page("overview").info[0].value


@pytest.mark.parametrize("page", PAGES)
def test_without_a_model_it_says_how_to_add_one(page: str, engine: Engine) -> None:
    Rows(engine).write()
    assert "learnback models add" in open_page(page).info[0].value


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("overview", ["No solicited answers yet", "No verdict yet", "Nothing fixed yet"]),
        ("errors", ["No failures in this window", "Nobody called an answer wrong here"]),
        ("models", ["No version yet"]),
        ("review", ["Nothing waits here"]),
    ],
)
def test_a_new_models_pages_are_empty_in_words(page: str, says: list[str], engine: Engine) -> None:
    rows = Rows(engine)
    rows.add_model([])
    rows.write()
    app = open_page(page)
    assert not app.exception
    for sentence in says:
        assert sentence in words(app)


def test_the_overview_shows_the_figures(engine: Engine) -> None:
    rows = Rows(engine)
    rows.add_model(["delivery"])
    v0, v1 = rows.version(0, 1), rows.version(1, 900, parent=0)
    rows.champion(v0, 2)
    rows.champion(v1, 1000, v0)
    rows.verdict(v1, v0, "promote", 999)
    for number in range(200):
        rows.asked(v0 if number < 100 else v1, 10 + number * 10, right=number % 2 == 0 if number < 100 else True)
    rows.example("w", status="train")
    rows.write()
    app = open_page("overview")
    assert {metric.label: metric.value for metric in app.metric} == {
        "Served accuracy": "100.0 % ± 1.8",
        "Feedback to fix": "–",
        "Promotions": "1",
        "Predictions": "200",
        "Feedback stored": "200",
        "To be learned": "1",
    }
    assert app.metric[0].delta == "+50.0 points"
    assert "promote because of the figures" in words(app)


def test_a_running_increment_is_shown(lived: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARNBACK_DATABASE_URL", lived)
    progress = open_page("overview").get("progress")[0]
    assert progress.proto.value == 30
    assert "step 18 of 60 · loss 0.412 · 331 examples/s · 6.2 s left" in progress.proto.text


def test_the_gate_report_follows_the_chosen_candidate(lived: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARNBACK_DATABASE_URL", lived)
    app = open_page("models")
    assert column(app, "State")[0] == "champion"
    app.selectbox(key="candidate").set_value(f"{MODEL}-02").run()
    assert "Worse on the golden anchor by 6.1 points; at most 2 are allowed." in words(app)
    app.selectbox(key="candidate").set_value(f"{MODEL}-04").run()
    assert "About 140 more answers or audits would decide." in words(app)
