"""A reviewer decides: what reaches the collector's door, and what the page says when it stays shut."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from streamlit.testing.v1 import AppTest

from shared.tables import open_database
from tests.board_life import MARKUP
from tests.board_pages import column, open_page, words
from tests.board_rows import MODEL, Rows


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An empty database that the board looks at."""
    url = f"sqlite:///{tmp_path}/board.db"
    monkeypatch.setenv("LEARNBACK_DATABASE_URL", url)
    return open_database(url)


@dataclass
class Door:
    """The collector's `POST /v1/reviews`, as far as the board can see."""

    status: int = 202
    answer: dict[str, str] = field(default_factory=dict)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    door = Door()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            door.keys.append(self.headers["Authorization"])
            door.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))) | {"path": self.path})
            body = json.dumps(door.answer).encode()
            self.send_response(door.status)
            self.send_header("Content-Type", "application/problem+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    (tmp_path / "key").write_text("lb_1_secret\n")
    monkeypatch.setenv("LEARNBACK_BOARD_COLLECTOR_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("LEARNBACK_BOARD_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.setenv("LEARNBACK_BOARD_REVIEWER", "ada")
    yield door
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def doubtful(engine: Engine) -> None:
    rows = Rows(engine)
    rows.add_model(["delivery", "invoice"])
    rows.example("first", "quarantined", text=MARKUP, reason="conflict", target="delivery", votes=2)
    rows.example("second", "quarantined", reason="confident_champion", target="invoice")
    rows.write()


def send(app: AppTest, example_id: str) -> AppTest:
    return app.button(key=f"send-{example_id}").click().run()


@pytest.mark.usefixtures("doubtful")
def test_a_decision_reaches_the_collector_and_the_item_is_gone(door: Door) -> None:
    app = open_page("review")
    assert app.code[0].value == MARKUP
    app.text_input(key="note-first").set_value("both say so")
    app = send(app, "first")
    assert door.bodies == [
        {
            "path": "/v1/reviews",
            "subject_kind": "example",
            "subject": "first",
            "model": MODEL,
            "decision": "accept",
            "reviewer": "ada",
            "note": "both say so",
        }
    ]
    assert door.keys == ["Bearer lb_1_secret"]
    assert app.success[0].value == "Decision sent: accept."
    assert column(app, "Would be learned as") == ["invoice"]
    assert not [button for button in app.button if button.key == "send-first"]


@pytest.mark.usefixtures("doubtful")
def test_a_relabel_needs_the_right_output(door: Door) -> None:
    app = open_page("review")
    app.button_group(key="action-first").set_value("relabel").run()
    assert app.button(key="send-first").disabled
    app.selectbox(key="target-first").set_value("invoice").run()
    send(app, "first")
    assert (door.bodies[0]["decision"], door.bodies[0]["target"]) == ("relabel", "invoice")


@pytest.mark.usefixtures("doubtful")
def test_a_refusal_is_told_in_the_collectors_words(door: Door) -> None:
    door.status, door.answer = (
        403,
        {"title": "Forbidden", "detail": "This key has no scope review.", "code": "forbidden"},
    )
    app = send(open_page("review"), "first")
    assert app.error[0].value == "The decision was not taken."
    assert "This key has no scope review." in words(app)
    assert app.code[0].value == MARKUP


@pytest.mark.usefixtures("doubtful")
@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("LEARNBACK_BOARD_COLLECTOR_URL", "http://127.0.0.1:9", "does not answer (ConnectError)"),
        ("LEARNBACK_BOARD_KEY_FILE", "/nowhere/key", "learnback keys create board --scope review"),
    ],
)
def test_what_is_missing_is_named(
    door: Door, variable: str, value: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert says in words(send(open_page("review"), "first"))
    assert door.bodies == []


@pytest.mark.usefixtures("doubtful")
def test_a_reviewer_without_a_proper_name_is_told_so(door: Door) -> None:
    app = open_page("review")
    app.text_input(key="reviewer").set_value("Ada Lovelace!").run()
    assert "reviewer: " in words(send(app, "first"))
    assert door.bodies == []
