"""A model's golden anchor: its rows as verdicts rest on them, who edited it, and what an edit must not be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, select
from sqlmodel import Session, col

from services.board.database import records, rows
from shared import label_schema
from shared.anchor import version_of
from shared.errors import BadInputError
from shared.label_schema import EVERY_LABEL, LabelSchema
from shared.tables import Example, Lesson, ModelRow, Review
from shared.text import AFTER_HEX, class_of, example_id, normalise

MOST = 200  # edits that the page lists
SHOWN = 8  # hex digits of a version's id that tell a few hundred of them apart


@dataclass(frozen=True)
class AnchorRow:
    """One input and its right output."""

    text: str
    target: str


@dataclass(frozen=True)
class Edit:
    """What a reviewer did to one row, why, and whether that is how the row stands now."""

    at: datetime
    reviewer: str
    decision: str
    text: str
    target: str | None
    note: str
    state: str


@dataclass(frozen=True)
class Anchor:
    """The rows that candidates are judged on now, by their text; `version` is None where there is none."""

    version: str | None
    rows: tuple[AnchorRow, ...]

    def find(self, text: str) -> AnchorRow | None:
        """The row with the same words, whatever their case and spaces."""
        return next((row for row in self.rows if normalise(row.text) == normalise(text)), None)


def short(version: str | None) -> str:
    """How a version of the anchor is written where there is little room."""
    return version[:SHOWN] if version else "none"


def anchor(engine: Engine, model: str) -> Anchor:
    """The golden anchor now."""
    found = _standing(engine, model)
    told = sorted((AnchorRow(one.text, one.target or "") for one in found), key=lambda row: normalise(row.text))
    return Anchor(version_of((one.id, one.target or "") for one in found), tuple(told))


def edits(engine: Engine, model: str) -> tuple[Edit, ...]:
    """What reviewers did to the anchor, newest first."""
    now = {one.id: one.target for one in _standing(engine, model)}
    with Session(engine) as session:
        schema = label_schema.schemas(session, [model]).get(model, EVERY_LABEL)
    of_model = select(Review).where(col(Review.model) == model, col(Review.subject_kind) == "anchor")
    newest = of_model.order_by(col(Review.occurred_at).desc(), col(Review.event_id).desc()).limit(MOST)
    told, seen = [], set()
    for one in records(engine, newest):
        state = _state(one, now, schema, is_newest=one.subject not in seen)
        seen.add(one.subject)
        told.append(Edit(one.occurred_at, one.reviewer, one.decision, one.text or "", one.target, one.note, state))
    return tuple(told)


def check(engine: Engine, model: str, added: Iterable[AnchorRow], changed: Iterable[AnchorRow] = ()) -> None:
    """See that rows can be added or changed.

    Raises:
        BadInputError: the first one whose text is there, blank or learned, or whose output is blank or no label.
    """
    (known,) = records(engine, select(ModelRow).where(col(ModelRow.name) == model))
    labels = frozenset(known.labels) if known.task == "classification" else None
    now, added = anchor(engine, model), tuple(added)
    for row in (*added, *changed):
        if not row.text.strip():
            raise BadInputError("blank_text", "The input is blank: write the text that versions are asked.", "text")
        if not row.target.strip():
            raise BadInputError("blank_target", f"{_named(row)} has no right output: say what is right.", "target")
        if labels is not None and row.target.strip() not in labels:
            why = "is not a label of the model; choose one that it has, or let it learn this one first"
            raise BadInputError("unknown_label", f"The output of {_named(row)} {why}.", "target")
    for row in added:
        if now.find(row.text):
            raise BadInputError("duplicate_text", f"{_named(row)} is in the anchor: change that row instead.", "text")
    for row in added:
        if _is_learned(engine, model, row.text):
            why = "nearly the same words are a lesson, so no version could be judged by them; choose another text"
            raise BadInputError("learned_text", f"{_named(row)}: {why}.", "text")


def _standing(engine: Engine, model: str) -> list[Example]:
    """The rows of the anchor that no reviewer retired."""
    standing = select(Example).where(
        col(Example.model) == model, col(Example.side) == "anchor", col(Example.status) == "holdout"
    )
    return [one for one in records(engine, standing) if one.target is not None]


def _state(one: Review, now: dict[str, str | None], schema: LabelSchema, *, is_newest: bool) -> str:
    target = None if one.decision == "retire" else schema.standing((one.target or "").strip())
    if now.get(one.subject) == target:
        return "in force"
    return "not in force: a second reviewer must agree" if is_newest else "replaced by a later one"


def _is_learned(engine: Engine, model: str, text: str) -> bool:
    """Whether a version learned this text or a near-duplicate of it, or will: it is among the first examples."""
    start = class_of(example_id(model, text))
    of_class = select(col(Example.id)).where(
        col(Example.id) >= start, col(Example.id) < start + AFTER_HEX, col(Example.side) != "anchor"
    )
    learned = col(Example.id).in_(select(col(Lesson.example_id)))
    return bool(rows(engine, of_class.where((col(Example.origin) == "seed") | learned).limit(1)))


def _named(row: AnchorRow) -> str:
    """A row in an error, by so much of its text that a person finds it."""
    return f"«{row.text[:40]}{'…' if len(row.text) > 40 else ''}»"
