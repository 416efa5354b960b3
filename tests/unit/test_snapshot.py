"""What an increment learns from is frozen: the same choice is the same version, and a crash finds it again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from schemas.events import ModelStateChanged, TrainingRequested
from services.trainer import desk as desks
from services.trainer.desk import Desk, NotYetError
from services.trainer.snapshot import Lesson, Snapshot, freeze, frozen
from services.trainer.start import NothingToLearnError
from shared.policy import PolicyFile, Training
from shared.states import States
from shared.tables import open_database
from shared.text import example_id
from tests.unit.recorder_story import (
    ANN,
    BOB,
    MODEL,
    Database,
    added,
    at,
    corrected,
    crowned,
    erased,
    reviewed,
    trained,
)

ORIGIN = "requests/0/0"
SEEDS = [("where is it", "a"), ("pay me back", "b")]
LESSON = Lesson(id="0" * 32, target="a", weight=0.5)
SNAPSHOT = Snapshot(
    request_id="r-1",
    model=MODEL,
    task="classification",
    base="base",
    parent="v0",
    parent_manifest="0" * 64,
    new=(LESSON,),
    replay=(),
    config=Training(),
)
CHANGES: dict[str, Any] = {
    "model": "other",
    "task": "generation",
    "base": "other",
    "parent": None,
    "parent_manifest": "1" * 64,
    "new": (LESSON, LESSON.model_copy(update={"id": "1" * 32})),
    "replay": (LESSON,),
    "config": Training(rank=8),
    "refresh": True,
}
lessons = some.lists(
    some.builds(Lesson, id=some.text("0123456789abcdef", min_size=8), target=some.text(), weight=some.floats(0, 1))
)


def ask(name: str = "r") -> TrainingRequested:
    return TrainingRequested(
        event_id=f"e-{name}",
        occurred_at=at(10),
        source="aggregator",
        request_id=name,
        model=MODEL,
        trigger="examples",
        requested_by="aggregator",
    )


def desk(database: Database, folder: Path, champion: ModelStateChanged | None = None) -> Desk:
    states: States = {(MODEL, "champion"): champion} if champion else {}
    return Desk(database.engine, PolicyFile(), lambda: states, folder)


@pytest.mark.parametrize("changed", CHANGES)
def test_anything_that_decides_what_is_learned_makes_another_version(changed: str) -> None:
    other = SNAPSHOT.model_copy(update={changed: CHANGES[changed]})
    assert other.version != SNAPSHOT.version


@pytest.mark.parametrize("changed", [{"id": "1" * 32}, {"target": "b"}, {"weight": 0.6}, {"rejected": "c"}])
def test_another_lesson_makes_another_version(changed: dict[str, Any]) -> None:
    other = SNAPSHOT.model_copy(update={"new": (LESSON.model_copy(update=changed),)})
    assert other.version != SNAPSHOT.version


def test_who_asked_makes_no_other_version() -> None:
    assert SNAPSHOT.model_copy(update={"request_id": "r-2"}).version == SNAPSHOT.version
    assert CHANGES.keys() | {"request_id"} == Snapshot.model_fields.keys()


@given(lessons, lessons)
def test_what_was_frozen_is_found_as_it_was(new: list[Lesson], replay: list[Lesson]) -> None:
    snapshot = SNAPSHOT.model_copy(update={"new": tuple(new), "replay": tuple(replay)})
    again = Snapshot.model_validate_json(snapshot.model_dump_json())
    assert (again, again.version, again.digest) == (snapshot, snapshot.version, snapshot.digest)


def test_a_crash_while_freezing_leaves_nothing_or_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(_handle: int) -> None:
        raise OSError

    with monkeypatch.context() as power_cut:
        power_cut.setattr(os, "fsync", crash)
        with pytest.raises(OSError):  # noqa: PT011
            freeze(SNAPSHOT, tmp_path)
    assert frozen("r-1", tmp_path) is None
    freeze(SNAPSHOT, tmp_path)
    choice = frozen("r-1", tmp_path)
    assert choice is not None
    assert choice.filled({LESSON.id: LESSON.target}, {}) == SNAPSHOT
    assert [path.name for path in tmp_path.iterdir()] == ["r-1.json"]


def test_no_word_of_a_user_is_in_what_is_frozen(tmp_path: Path) -> None:
    said = LESSON.model_copy(update={"target": "zebrafish quartz"})
    freeze(SNAPSHOT.model_copy(update={"new": (said,)}), tmp_path)
    assert b"zebrafish" not in (tmp_path / "r-1.json").read_bytes()


@pytest.mark.parametrize("targets", [{LESSON.id: "b"}, {LESSON.id: None}, {}])
def test_what_has_another_target_by_now_is_another_choice(tmp_path: Path, targets: dict[str, str | None]) -> None:
    freeze(SNAPSHOT, tmp_path)
    choice = frozen("r-1", tmp_path)
    assert choice is not None
    assert choice.filled(targets, {}) is None


def test_the_desk_waits_for_the_recorder(tmp_path: Path) -> None:
    empty = Desk(open_database("sqlite://"), PolicyFile(), dict, tmp_path)
    with pytest.raises(NotYetError, match="database"):
        empty.prepare(ask(), ORIGIN)
    database = Database()
    card = added(database, SEEDS)
    with pytest.raises(NotYetError, match="request"):
        desk(database, tmp_path).prepare(card, ORIGIN)
    database.record(card)
    snapshot, texts = desk(database, tmp_path).prepare(card, ORIGIN)
    assert sorted(texts.values()) == ["pay me back", "where is it"]
    assert snapshot.parent is None
    database.record(ask())
    with pytest.raises(NotYetError, match="champion"):
        desk(database, tmp_path, crowned("v0")).prepare(ask(), ORIGIN)
    empty.engine.dispose()


def test_what_came_later_does_not_change_what_was_frozen(tmp_path: Path) -> None:
    database = Database()
    card = added(database, SEEDS)
    database.record(card)
    before = desk(database, tmp_path).prepare(card, ORIGIN)
    database.record(*corrected("p", "my money", "b"))
    assert desk(database, tmp_path).prepare(card, ORIGIN) == before
    assert "my money" in desk(database, tmp_path / "elsewhere").prepare(card, ORIGIN)[1].values()


@pytest.mark.parametrize("event", [erased(BOB), reviewed("my money", "reject")])
def test_what_was_erased_or_withdrawn_is_not_learned_after_a_crash(tmp_path: Path, event: Any) -> None:
    database = Database()
    card = added(database, SEEDS)
    database.record(card, *corrected("p", "my money", "b", user=BOB), *corrected("q", "lost it", "a", user=ANN))
    before, texts = desk(database, tmp_path).prepare(card, ORIGIN)
    assert example_id(MODEL, "my money") in texts
    database.record(event)
    with pytest.raises(NotYetError):
        desk(database, tmp_path).prepare(card, ORIGIN)
    after, texts = desk(database, tmp_path).prepare(card, ORIGIN)
    assert after.ids == before.ids - {example_id(MODEL, "my money")}
    assert after.version != before.version


def test_the_same_lessons_do_not_make_a_version_twice(tmp_path: Path) -> None:
    database = Database()
    champion = crowned("v0")
    v0 = trained("v0", lessons=[text for text, _ in SEEDS], labels=["a", "b"])
    database.record(added(database, SEEDS), v0, champion)
    database.record(*corrected("p", "my money", "b"), ask("first"), ask("second"))
    first, _ = desk(database, tmp_path, champion).prepare(ask("first"), ORIGIN)
    assert {lesson.id for lesson in first.new} == {example_id(MODEL, "my money")}
    assert {lesson.id for lesson in first.replay} == {example_id(MODEL, text) for text, _ in SEEDS}
    database.record(trained(first.version, "v0").model_copy(update={"request_id": "first"}))
    with pytest.raises(NothingToLearnError, match=first.version):
        desk(database, tmp_path, champion).prepare(ask("second"), ORIGIN)
    assert desk(database, tmp_path, champion).prepare(ask("first"), ORIGIN)[0] == first


def test_a_task_that_cannot_be_learned_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "TASKS", {"classification": "…"})
    database = Database()
    card = added(database, SEEDS, task="generation")
    database.record(card)
    with pytest.raises(NothingToLearnError, match="learns classification, and the model's task is generation"):
        desk(database, tmp_path).prepare(card, ORIGIN)


def test_who_writes_text_learns_what_was_corrected_too_and_a_crash_finds_it_again(tmp_path: Path) -> None:
    database = Database()
    state = crowned("v0", when=1)
    database.record(added(database, SEEDS, task="generation"), trained("v0"), state)
    database.record(*corrected("p1", "cancel order 8", '{"do": "cancel"}', 20, output="I cannot do that."), ask())
    chosen, texts = desk(database, tmp_path, state).prepare(ask(), ORIGIN)
    mine = example_id(MODEL, "cancel order 8")
    [lesson] = [one for one in chosen.new if one.id == mine]
    assert (lesson.target, lesson.rejected, texts[mine]) == ('{"do": "cancel"}', "I cannot do that.", "cancel order 8")
    assert "cannot" not in (tmp_path / "r.json").read_text(), "outputs stay in SQL, where an erasure finds them"
    assert desk(database, tmp_path, state).prepare(ask(), ORIGIN)[0] == chosen
