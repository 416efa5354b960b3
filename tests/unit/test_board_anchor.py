"""The page of the golden anchor: its rows, an edit on its way to the collector, and files of rows."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine
from streamlit.testing.v1 import AppTest

from services.board import anchor, anchor_file
from services.board.anchor import Anchor, AnchorRow
from services.board.anchor_file import Change
from shared.errors import BadInputError
from shared.text import example_id
from tests.board_pages import column, open_page, words
from tests.board_rows import MODEL, Rows
from tests.unit.test_board_review import Door, door, engine

__all__ = ["door", "engine"]  # fixtures

ROWS = (
    AnchorRow("cancel it", "order"),
    AnchorRow('say "when", please', "delivery"),
    AnchorRow("where\nis it", "=refund"),
)


@pytest.fixture
def some(engine: Engine) -> Engine:
    """Two rows, a retired one, a lesson, a first example; one edit that holds and one that waits."""
    rows = Rows(engine)
    rows.add_model(["delivery", "refund"])
    version = rows.version(0, 1)
    for text, status in (("where is it", "holdout"), ("send it back", "holdout"), ("old one", "quarantined")):
        rows.example(example_id(MODEL, text), status, text=text, origin="anchor", side="anchor", target="delivery")
    for text, origin in (("my parcel", "feedback"), ("first of all", "seed"), ("other words", "feedback")):
        rows.example(example_id(MODEL, text), text=text, origin=origin)
    rows.lesson(version, example_id(MODEL, "my parcel"))
    rows.edit(10, "add", "where is it", "delivery", note="asked often")
    rows.edit(20, "relabel", "send it back", "refund", reviewer="eve")
    rows.edit(30, "retire", "old one")
    rows.write()
    return engine


def adding(text: str, target: str = "refund") -> AppTest:
    app = open_page("anchor")
    app.text_area(key="text-anchor-0").set_value(text).run()
    app.selectbox(key="target-anchor-0-").set_value(target).run()
    app.text_input(key="note-anchor-0").set_value("a customer called").run()
    return app.button(key="send-anchor").click().run()


@pytest.mark.usefixtures("some", "door")
def test_the_rows_are_shown_and_who_edited_them() -> None:
    app = open_page("anchor")
    assert dict(zip(column(app, "Input"), column(app, "Right output"), strict=True)) == {
        "send it back": "delivery", "where is it": "delivery",
    }  # fmt: skip
    assert "2 rows" in words(app)
    assert column(app, "Reviewer") == ["ada", "eve", "ada"]
    assert column(app, "State") == ["in force", "not in force: a second reviewer must agree", "in force"]


@pytest.mark.usefixtures("some")
def test_a_row_is_added_with_who_and_why(door: Door) -> None:
    app = adding("a new text")
    assert app.success[0].value == "Edit sent: add."
    assert door.bodies == [
        {
            "path": "/v1/reviews",
            "subject_kind": "anchor",
            "text": "a new text",
            "model": MODEL,
            "decision": "add",
            "target": "refund",
            "reviewer": "ada",
            "note": "a customer called",
        }
    ]


@pytest.mark.usefixtures("some")
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Where  is it", "is in the anchor: change that row instead"),
        ("parcel, my!", "nearly the same words are a lesson"),
        ("first of all", "nearly the same words are a lesson"),
        ("   ", "The input is blank"),
        ("x" * 10_001, "text: String should have at most 10000 characters"),
    ],
)
def test_a_row_that_could_judge_nobody_is_refused_before_it_is_sent(door: Door, text: str, why: str) -> None:
    assert why in words(adding(text))
    assert door.bodies == []


def test_an_output_must_be_a_label_where_the_model_has_labels(some: Engine) -> None:
    with pytest.raises(BadInputError, match="«new text» is not a label of the model"):
        anchor.check(some, MODEL, [AnchorRow("new text", "pets")])
    with pytest.raises(BadInputError, match="no right output"):
        anchor.check(some, MODEL, [], [AnchorRow("where is it", " ")])
    anchor.check(some, MODEL, [AnchorRow("other words", "refund"), AnchorRow("old one", "refund")])


def test_files_hold_what_the_anchor_holds() -> None:
    assert anchor_file.read("a.csv", anchor_file.to_csv(ROWS).encode()) == ROWS
    assert anchor_file.read("a.jsonl", anchor_file.to_jsonl(ROWS).encode()) == ROWS
    assert anchor_file.read("b.CSV", b"\xef\xbb\xbflabel,text\nrefund,give it back\n") == (
        AnchorRow("give it back", "refund"),
    )


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.csv", b"text;label\na;b\n", r"a\.csv:1: the head must name the columns text and label"),
        ("a.csv", b"text,label\na,b\nb\n", r"a\.csv:3: label: string_type"),
        ("a.csv", b'text,label\n"a,b\n', r"a\.csv:2: unexpected end of data"),
        ("a.csv", b"text,label\n", r"a\.csv: has no row"),
        ("a.jsonl", b'{"text": "a", "label": "b"}\n{"text": "a"}\n', r"a\.jsonl:2: label: missing"),
        ("a.jsonl", b'{"text": "a", "label": "b"}\n\n{"text": "A ", "label": "b"}', r"a\.jsonl:3: .* is on line 1"),
        ("a.jsonl", b"what", r"a\.jsonl:1: body: json_invalid"),
        ("a.jsonl", b"\xff\xfe", r"a\.jsonl: is not UTF-8 text"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(name: str, content: bytes, why: str) -> None:
    with pytest.raises(BadInputError, match=f"^{why}"):
        anchor_file.read(name, content)


def test_a_file_adds_changes_and_retires_only_if_asked() -> None:
    now = Anchor("v", ROWS)
    wanted = [AnchorRow("CANCEL it", "refund"), ROWS[1], AnchorRow("new", "order")]
    kept = (Change("relabel", wanted[0]), Change("add", wanted[2]))
    assert anchor_file.changes(now, wanted, retire=False) == kept
    assert anchor_file.changes(now, wanted, retire=True) == (*kept, Change("retire", ROWS[2]))
    assert anchor_file.changes(now, ROWS, retire=True) == ()
    many = [AnchorRow(f"text {number}", "order") for number in range(anchor_file.MOST + 1)]
    with pytest.raises(BadInputError, match="split it"):
        anchor_file.changes(now, many, retire=False)
