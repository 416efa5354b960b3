"""A joint refresh: when a classifier is trained anew from the base, on what, and that increments go on between."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from schemas.events import CandidateTrained, ModelStateChanged, TrainingProgressed, TrainingRequested
from services.trainer.desk import Desk
from services.trainer.snapshot import Snapshot
from shared.policy import Policy, PolicyFile, Training
from shared.tables import StateChange
from tests.unit.recorder_story import MODEL, Database, added, at, corrected, crowned, trained

SEEDS = [("seed one", "a"), ("seed two", "b"), ("seed three", "b")]


def policies(**training: Any) -> PolicyFile:
    return PolicyFile(defaults=Policy(training=Training(**{"refresh_every": 2, "min_replay": 2, **training})))


def asked(name: str, trigger: Any = "examples", parent: str | None = None) -> TrainingRequested:
    return TrainingRequested(
        event_id=f"ask-{name}",
        occurred_at=at(500),
        source="aggregator",
        request_id=name,
        model=MODEL,
        trigger=trigger,
        requested_by="aggregator",
        parent=parent,
    )


def refreshed(version: str, parent: str, when: float) -> CandidateTrained:
    return trained(version, parent, [], ["a", "b"], when).model_copy(update={"trigger": "refresh"})


@pytest.fixture
def database() -> Database:
    """v0 ← v1, each champion in its turn; an example is new."""
    here = Database()
    here.record(added(here, SEEDS))
    here.record(*corrected("p1", "first correction", "b", 1), *corrected("p2", "new words", "a", 90))
    here.record(trained("v0", None, [text for text, _ in SEEDS], ["a", "b"], 50), crowned("v0", None, 51))
    promote(here, "v1", "v0", 60, ["first correction"])
    return here


def promote(here: Database, version: str, parent: str, when: float, lessons: list[str]) -> None:
    here.record(trained(version, parent, lessons, ["a", "b"], when), crowned(version, parent, when + 1))


def snapshot_of(
    here: Database, request: TrainingRequested, champion: str, folder: Path, rules: PolicyFile | None = None
) -> Snapshot:
    """What the request is answered with while a version serves."""
    here.record(request)
    states: dict[str, ModelStateChanged] = {row.version: row for row in _crowns(here)}
    desk = Desk(here.engine, rules or policies(), lambda: {(MODEL, "champion"): states[champion]}, folder)
    return desk.prepare(request, "t/0/0")[0]


def _crowns(here: Database) -> list[ModelStateChanged]:
    about: dict[str, Any] = {"source": "evaluator", "task": "classification", "base": "b"}
    return [ModelStateChanged(**row.model_dump(), **about) for row in here.rows(StateChange)]


def test_after_so_many_promotions_everything_is_learned_anew(database: Database, tmp_path: Path) -> None:
    before = snapshot_of(database, asked("r1"), "v1", tmp_path)
    assert (before.refresh, before.parent, before.goes_on_from) == (False, "v1", "v1")
    promote(database, "v2", "v1", 70, [])
    due = snapshot_of(database, asked("r2"), "v2", tmp_path)
    assert (due.refresh, due.parent, due.goes_on_from) == (True, "v2", None)
    assert len(due.new) == 1
    assert Counter(lesson.target for lesson in due.replay) == {"a": 1, "b": 3}, "all that the line has learned"


def test_it_is_bounded_and_balanced_over_the_labels(database: Database, tmp_path: Path) -> None:
    promote(database, "v2", "v1", 70, [])
    due = snapshot_of(database, asked("r"), "v2", tmp_path, policies(refresh_rows=3))
    assert (len(due.new), Counter(lesson.target for lesson in due.replay)) == (1, {"a": 1, "b": 1})


def test_the_same_request_is_answered_the_same_after_a_crash(database: Database, tmp_path: Path) -> None:
    promote(database, "v2", "v1", 70, [])
    due = snapshot_of(database, asked("r"), "v2", tmp_path)
    assert snapshot_of(database, asked("r"), "v2", tmp_path) == due
    assert snapshot_of(database, asked("r"), "v2", tmp_path / "elsewhere") == due
    assert due.version != due.model_copy(update={"refresh": False}).version


def test_one_that_was_not_promoted_is_not_tried_again_at_once(database: Database, tmp_path: Path) -> None:
    promote(database, "v2", "v1", 70, [])
    database.record(refreshed("v3", "v2", 80))
    assert not snapshot_of(database, asked("r1"), "v2", tmp_path).refresh
    promote(database, "v4", "v2", 81, [])
    assert not snapshot_of(database, asked("r2"), "v4", tmp_path).refresh
    promote(database, "v5", "v4", 83, [])
    assert snapshot_of(database, asked("r3"), "v5", tmp_path).refresh


def test_counting_starts_anew_from_one_that_serves(database: Database, tmp_path: Path) -> None:
    database.record(refreshed("v2", "v1", 70), crowned("v2", "v1", 71))
    assert not snapshot_of(database, asked("r1"), "v2", tmp_path).refresh
    promote(database, "v3", "v2", 72, [])
    assert not snapshot_of(database, asked("r2"), "v3", tmp_path).refresh
    promote(database, "v4", "v3", 74, [])
    assert snapshot_of(database, asked("r3"), "v4", tmp_path).refresh


def test_drift_is_answered_with_a_refresh_after_a_quarter_of_the_promotions(database: Database, tmp_path: Path) -> None:
    promote(database, "v2", "v1", 70, [])
    assert snapshot_of(database, asked("r1", "drift"), "v2", tmp_path, policies(refresh_every=8)).refresh
    assert not snapshot_of(database, asked("r2"), "v2", tmp_path, policies(refresh_every=8)).refresh
    assert not snapshot_of(database, asked("r3", "drift"), "v2", tmp_path, policies(refresh_every=9)).refresh


def test_drift_under_a_version_that_was_made_from_the_base_is_answered_with_an_increment(
    database: Database, tmp_path: Path
) -> None:
    assert snapshot_of(database, asked("r1", "drift"), "v1", tmp_path, policies(refresh_every=4)).refresh
    assert not snapshot_of(database, asked("r2", "drift"), "v0", tmp_path, policies(refresh_every=4)).refresh


def test_no_drift_makes_a_refresh_where_the_policy_wants_none(database: Database, tmp_path: Path) -> None:
    assert not snapshot_of(database, asked("r1", "drift"), "v1", tmp_path, policies(refresh_every=0)).refresh


def test_after_a_training_that_failed_an_increment_comes_first(database: Database, tmp_path: Path) -> None:
    promote(database, "v2", "v1", 70, [])

    def told(name: str, state: Any, when: float) -> None:
        database.record(
            TrainingProgressed(
                event_id=f"{name}-{state}",
                occurred_at=at(when),
                source="trainer",
                request_id=name,
                model=MODEL,
                state=state,
            )
        )

    told("r1", "failed", 90)
    told("r2", "started", 95)  # the request itself, from before a crash
    assert not snapshot_of(database, asked("r2"), "v2", tmp_path).refresh
    told("r2", "finished", 99)
    assert snapshot_of(database, asked("r3"), "v2", tmp_path).refresh


def test_a_rebuild_starts_from_the_version_that_it_names(database: Database, tmp_path: Path) -> None:
    promote(database, "v2", "v1", 70, [])
    rebuilt = snapshot_of(database, asked("r", "person", "v0"), "v2", tmp_path)
    assert (rebuilt.refresh, rebuilt.goes_on_from) == (False, "v0")


def test_an_increment_reviews_more_than_it_passes_over(database: Database, tmp_path: Path) -> None:
    increment = snapshot_of(database, asked("r1"), "v1", tmp_path, policies(min_replay=1, head_replay=1))
    reviewing = snapshot_of(database, asked("r2"), "v1", tmp_path, policies(min_replay=1, head_replay=2))
    assert [len(one.replay) for one in (increment, reviewing)] == [1, 2]
    assert Counter(lesson.target for lesson in reviewing.replay) == {"a": 1, "b": 1}
