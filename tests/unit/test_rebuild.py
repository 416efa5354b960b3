"""A rebuild starts before the first version that learned from an erased user, and a running training forgets too."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.events import ModelStateChanged, TrainingRequested
from services.trainer.desk import Desk
from services.trainer.snapshot import frozen
from services.trainer.start import NothingToLearnError
from shared.policy import PolicyFile
from shared.text import example_id
from tests.unit.recorder_story import ANN, BOB, EVE, MODEL, Database, added, at, corrected, crowned, erased, trained

pytestmark = pytest.mark.usefixtures("everywhere")


def asked(name: str, parent: str | None = None) -> TrainingRequested:
    return TrainingRequested(
        event_id=f"ask-{name}",
        occurred_at=at(100),
        source="recorder",
        request_id=f"r-{name}",
        model=MODEL,
        trigger="person",
        requested_by="erasure",
        parent=parent,
    )


@pytest.fixture
def database() -> Database:
    """v0 ← v1 ← v2: v1 learned from Ann and Bob, v2 from Eve; v2 serves."""
    here = Database()
    here.record(added(here, [("seed one", "a"), ("seed two", "b")]))
    for number, (user, text) in enumerate([(ANN, "anns"), (BOB, "bobs"), (EVE, "eves"), (BOB, "new")]):
        here.record(*corrected(f"p{number}", f"{text} words", "b", number, user=user))
    here.record(trained("v0", None, ["seed one", "seed two"], ["a", "b"], 50), crowned("v0", None, 51))
    here.record(trained("v1", "v0", ["anns words", "bobs words"], ["a", "b"], 60), crowned("v1", "v0", 61))
    here.record(trained("v2", "v1", ["eves words"], ["a", "b"], 70), crowned("v2", "v1", 71))
    return here


def desk(database: Database, folder: Path) -> Desk:
    champion: ModelStateChanged = crowned("v2", "v1", 71)
    return Desk(database.engine, PolicyFile(), lambda: {(MODEL, "champion"): champion}, folder)


def ids(*texts: str) -> set[str]:
    return {example_id(MODEL, text) for text in texts}


def test_a_rebuild_learns_again_what_later_versions_learned_and_replays_what_its_parent_knew(
    database: Database, tmp_path: Path
) -> None:
    database.record(erased(ANN), asked("again", "v0"))
    snapshot, texts = desk(database, tmp_path).prepare(asked("again", "v0"), "t/0/0")
    assert snapshot.parent == "v0"
    assert {lesson.id for lesson in snapshot.new} == ids("bobs words", "eves words", "new words")
    assert {lesson.id for lesson in snapshot.replay} == ids("seed one", "seed two")
    assert "anns words" not in texts.values()


def test_an_increment_starts_from_the_champion(database: Database, tmp_path: Path) -> None:
    database.record(asked("more"))
    snapshot, _ = desk(database, tmp_path).prepare(asked("more"), "t/0/0")
    assert (snapshot.parent, {lesson.id for lesson in snapshot.new}) == ("v2", ids("new words"))


def test_a_rebuild_from_a_stranger_is_refused(database: Database, tmp_path: Path) -> None:
    database.record(asked("odd", "v9"))
    with pytest.raises(NothingToLearnError, match="no ancestor"):
        desk(database, tmp_path).prepare(asked("odd", "v9"), "t/0/0")


def test_who_is_erased_while_a_training_runs_is_not_in_the_version(database: Database, tmp_path: Path) -> None:
    database.record(asked("again", "v0"))
    here = desk(database, tmp_path)
    before = here.erasures()
    snapshot, _ = here.prepare(asked("again", "v0"), "t/0/0")
    assert not here.forget(snapshot, before)
    database.record(erased("d" * 32))  # somebody who had no part in it
    assert not here.forget(snapshot, before)
    database.record(erased(EVE))
    assert here.forget(snapshot, before)
    assert frozen(snapshot.request_id, tmp_path) is None
    again, texts = here.prepare(asked("again", "v0"), "t/0/0")
    assert again.version != snapshot.version
    assert "eves words" not in texts.values()
