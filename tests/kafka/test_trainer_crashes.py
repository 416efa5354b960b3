"""The trainer on a real broker: whatever is stopped, killed or slow in the middle, a request is answered once."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from schemas.events import CandidateTrained
from services.trainer.candidate import folder_of
from services.trainer.snapshot import frozen
from shared.kafka import Bus
from tests.kafka.stage import Stage, asked, card, staged, until
from tests.kafka.trainers import (
    ANCHORS,
    POLICIES,
    ask,
    caught,
    checkpoints,
    gone,
    reasons,
    snapshots,
    suspended,
    told,
    trainer,
    trainer_process,
    unfinished,
    warm_up,
)
from tests.unit.recorder_story import corrected
from tests.weights import QUICK, ROWS

pytestmark = pytest.mark.kafka


@pytest.fixture
def stage(bus: Bus, tmp_path: Path) -> Iterator[Stage]:
    with staged(bus, tmp_path, POLICIES) as here:
        yield here


def test_a_long_training_costs_the_trainer_neither_its_place_nor_its_request(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm_up()
    monkeypatch.setattr("shared.kafka.SESSION_TIMEOUT_MS", 6000)
    added = card(stage, ROWS, ANCHORS)
    ask(stage, added)
    with trainer(stage, max_poll_interval_ms=6000):
        with suspended():
            over = time.monotonic() + 10  # far beyond both limits
            ask(stage, asked("next"))
            until(lambda: time.monotonic() > over)
            assert told(stage, "r-next") == [], "one at a time"
        until(lambda: stage.of(CandidateTrained))
        until(lambda: told(stage, "r-next") == ["started", "skipped"])
    assert told(stage, added.request_id) == ["started", "running", "finished"]


def test_a_killed_child_fails_its_request_and_the_trainer_lives(stage: Stage) -> None:
    added = card(stage, ROWS, ANCHORS)
    ask(stage, added)
    with trainer(stage):
        caught().kill()
        until(lambda: told(stage, added.request_id)[-1:] == ["failed"])
        ask(stage, asked("next"))
        until(lambda: told(stage, "r-next") == ["started", "skipped"])
    assert reasons(stage, "failed") == {added.request_id: "Training ended with exit code -9; see the trainer's log."}
    assert stage.of(CandidateTrained) == []


def test_a_trainer_that_is_stopped_in_the_middle_makes_the_version_when_it_is_back(stage: Stage) -> None:
    added = card(stage, ROWS, ANCHORS)
    ask(stage, added)
    with trainer(stage) as stopped, suspended() as child:  # which never ends by itself
        stopped.place.stopping.set()
        until(lambda: gone(child))
    begun = frozen(added.request_id, snapshots(stage))
    assert begun is not None
    assert stage.of(CandidateTrained) == []
    stage.database.record(*corrected("p", "reimburse me", "refund"))  # chosen anew, it would be learned too
    with trainer(stage):
        until(lambda: told(stage, added.request_id)[-1:] == ["finished"])
        ask(stage, asked("next"))
        until(lambda: told(stage, "r-next") == ["started", "skipped"])
    assert [event.version for event in stage.of(CandidateTrained)] == [begun.version]


def test_a_killed_trainer_leaves_no_orphan_and_makes_the_version_once(stage: Stage) -> None:
    slow = QUICK.model_copy(update={"seed_epochs": 150, "plateau": 0})
    added = card(stage, ROWS, ANCHORS)
    ask(stage, added)
    often = {"LEARNBACK_TRAINER_CHECKPOINT_S": "0.3"}
    with trainer_process(stage, slow, **often) as victim:
        until(lambda: told(stage, added.request_id)[-1:] == ["running"] and checkpoints(stage))
        family = psutil.Process(victim.pid).children(recursive=True)
        victim.kill()
    assert len(family) >= 2
    until(lambda: all(map(gone, family)))
    begun = frozen(added.request_id, snapshots(stage))
    assert begun is not None
    assert stage.of(CandidateTrained) == []
    assert [path.name for path in unfinished(stage).iterdir()] == [begun.version]
    with trainer_process(stage, slow, **often) as successor:
        until(lambda: told(stage, added.request_id)[-1:] == ["finished"])
        successor.send_signal(signal.SIGTERM)
        assert successor.wait(30) == 0
    [made] = stage.of(CandidateTrained)
    assert made.version == begun.version
    _, manifest = stage.artifacts.get(folder_of(made.version), made.manifest_sha256)
    assert 0 < manifest["resumed"] < manifest["steps"] == 300
    assert list(unfinished(stage).iterdir()) == checkpoints(stage) == []


def test_a_request_that_kills_the_trainer_three_times_is_put_aside(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadly = card(stage, ROWS, ANCHORS)
    ask(stage, deadly)
    monkeypatch.setenv("LEARNBACK_INSTANCE", "one")  # whose partitions are its successor's at once
    with monkeypatch.context() as dying:
        dying.setenv("LEARNBACK_CRASH_AT", "trainer.before_training")
        for _ in range(3):
            with trainer_process(stage, QUICK) as victim:
                assert victim.wait(60) == -signal.SIGKILL
    with trainer_process(stage, QUICK):
        until(lambda: told(stage, deadly.request_id)[-1:] == ["failed"])
        ask(stage, asked("next"))
        until(lambda: told(stage, "r-next") == ["started", "skipped"])
    assert stage.dead_letters() == [("trainer", "crash_loop", 0)]
    assert reasons(stage, "failed") == {deadly.request_id: "The trainer died of it 3 times."}
