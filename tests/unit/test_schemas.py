"""Exported schemas are those of the code, and what was ever written stays readable."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsoncompat
import pytest

from schemas.events import EVENTS, Event
from schemas.export import FOLDER, earlier, export, exported
from tests.unit.events import EXAMPLES

Schema = dict[str, Any]


def reads(old: str, new: str) -> bool:
    """Whether what an old schema allowed is allowed by the new one."""
    return bool(jsoncompat.check_compat(old, new, "deserializer"))


@pytest.mark.parametrize("name", EVENTS)
def test_the_export_is_fresh(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text("utf-8") == exported(EVENTS[name]), "run: make schemas"


@pytest.mark.parametrize("name", EVENTS)
def test_every_earlier_version_stays_readable(name: str) -> None:
    for path in [FOLDER / f"{name}.json", *earlier(name)]:
        assert reads(path.read_text("utf-8"), exported(EVENTS[name])), f"{path.name} is no longer readable"


def optional(schema: Schema) -> None:
    schema["properties"]["note"] = {"type": "string", "default": ""}


def required(schema: Schema) -> None:
    schema["properties"]["note"] = {"type": "string"}
    schema["required"].append("note")


def retyped(schema: Schema) -> None:
    schema["properties"]["prediction_id"] = {"type": "integer"}


def removed(schema: Schema) -> None:
    del schema["properties"]["tags"]


@pytest.mark.parametrize(
    ("change", "allowed"), [(optional, True), (required, False), (retyped, False), (removed, False)]
)
def test_the_check_knows_what_breaks_readers(change: Callable[[Schema], None], allowed: bool) -> None:
    old = exported(EVENTS["FeedbackReceived"])
    schema = json.loads(old)
    change(schema)
    assert reads(old, json.dumps(schema)) is allowed


def test_a_changed_schema_is_kept(tmp_path: Path) -> None:
    assert sorted(export(tmp_path)) == sorted(EVENTS)
    assert export(tmp_path) == []
    (tmp_path / "UserErased.json").write_text("{}")
    assert export(tmp_path) == ["UserErased"]
    assert [path.read_text() for path in earlier("UserErased", tmp_path)] == ["{}"]


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_a_reader_ignores_what_a_newer_writer_adds(event: Event) -> None:
    newer = json.dumps({**json.loads(event.model_dump_json()), "added_later": 1})
    assert type(event).model_validate_json(newer) == event
