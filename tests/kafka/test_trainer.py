"""The trainer on a real broker with real weights: what it makes of requests, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import Session

from schemas.events import CandidateTrained, TrainingProgressed
from services.trainer.candidate import folder_of
from services.trainer.origins import Origins
from shared.kafka import Bus
from shared.policy import Policy, PolicyFile
from shared.tables import DeadLetter, Example
from shared.text import example_id, short_hash
from shared.topics import TRAINING_REQUESTS
from tests.kafka.stage import Stage, asked, card, staged, until
from tests.kafka.trainers import ANCHORS, ask, first_version, reasons, serve, told, trainer
from tests.unit.recorder_story import ANN, BOB, EVE, MODEL, NOON, corrected, crowned, decided, reviewed, trained
from tests.weights import BASE, QUICK, ROWS

pytestmark = pytest.mark.kafka

RULES = PolicyFile(defaults=Policy(training=QUICK.model_copy(update={"refresh_every": 4})))  # after drift: a quarter


@pytest.fixture
def stage(bus: Bus, tmp_path: Path) -> Iterator[Stage]:
    with staged(bus, tmp_path, RULES) as here:
        yield here


def test_a_card_becomes_a_first_version_as_soon_as_the_recorder_knows_it(stage: Stage) -> None:
    asked_for = card(stage, ROWS, ANCHORS)
    stage.publish(asked_for)
    with trainer(stage):
        until(lambda: told(stage, asked_for.request_id) == ["started"])
        stage.database.record(asked_for)
        until(lambda: told(stage, asked_for.request_id) == ["started", "running", "finished"])
    [v0] = stage.of(CandidateTrained)
    folder, manifest = stage.artifacts.get(folder_of(v0.version), v0.manifest_sha256)
    assert (v0.task, v0.base, v0.parent, v0.trigger) == ("classification", BASE, None, "added")
    assert v0.labels == ("login", "parcel", "refund")
    assert set(v0.lessons) == {example_id(MODEL, text) for text, _ in ROWS}
    assert len(v0.loss_curve) == v0.steps
    assert v0.loss_curve[-1] < 0.01, "three labels of four rows each are soon known"
    assert {path.name for path in folder.iterdir()} == {*manifest["files"], "manifest.json"}
    assert manifest["version"] == v0.version
    assert manifest["costs"]["peak_memory_mb"] > 90, "the base alone has 90 MB"
    [last] = [event for event in stage.of(TrainingProgressed) if event.state == "finished"]
    assert (last.step, last.steps, last.seconds_left) == (v0.steps, v0.steps, 0)


def test_an_increment_learns_what_is_to_be_learned_and_nothing_else(stage: Stage) -> None:
    users = (ANN, BOB, EVE)
    lessons = [("send me the invoice", "invoice"), ("a bill for my taxes", "invoice"), ("my receipt please", "invoice")]
    with trainer(stage):
        v0 = first_version(stage)
        serve(stage, v0)
        for number, (text, target) in enumerate(lessons):
            stage.database.record(*corrected(f"p{number}", text, target, 80 + number, user=users[number]))
        stage.database.record(
            *corrected("pending", "my cat is ill", "pets"),  # one voice for a label that nobody knows
            *corrected("holdout", "the box is late", "parcel", solicit=True),
            *corrected("doubtful", "no password works", "refund", score=0.999, version=v0.version),
            *corrected("twin", "courier, where did it leave the", "refund"),
            *corrected("rejected", "give it back", "refund"),
            reviewed("give it back", "reject"),
        )
        statuses = {row.text: row.status for row in stage.database.rows(Example)}
        assert set(statuses.values()) == {"train", "holdout", "pending", "quarantined"}
        ask(stage, asked("more"))
        until(lambda: len(stage.of(CandidateTrained)) == 2)
    v1 = stage.of(CandidateTrained)[1]
    _, manifest = stage.artifacts.get(folder_of(v1.version), v1.manifest_sha256)
    assert v1.parent == v0.version
    assert v1.labels == (*v0.labels, "invoice")
    assert set(v1.lessons) == {example_id(MODEL, text) for text, _ in lessons}
    assert set(manifest["replay"]) == set(v0.lessons)
    assert manifest["parent_manifest"] == v0.manifest_sha256
    events = Origins.of(["f-p0", "f-p1", "f-p2", "r-add--10"])
    assert (manifest["events"], manifest["events_sha256"]) == (events.events, events.sha256)


def test_drift_is_answered_by_a_version_made_anew_on_all_that_the_line_has_learned(stage: Stage) -> None:
    with trainer(stage):
        v0 = first_version(stage)
        serve(stage, v0)
        stage.database.record(*corrected("p", "reimburse me at once", "refund"))
        ask(stage, asked("more"))
        until(lambda: len(stage.of(CandidateTrained)) == 2)
        v1 = stage.of(CandidateTrained)[1]
        serve(stage, v1, v0.version, when=85)
        stage.database.record(*corrected("q", "where has the box gone", "parcel", 90))
        ask(stage, asked("drift").model_copy(update={"trigger": "drift"}))
        until(lambda: len(stage.of(CandidateTrained)) == 3)
    anew = stage.of(CandidateTrained)[2]
    _, manifest = stage.artifacts.get(folder_of(anew.version), anew.manifest_sha256)
    assert (anew.trigger, anew.parent, manifest["refresh"]) == ("refresh", v1.version, True)
    assert anew.lessons == (example_id(MODEL, "where has the box gone"),)
    assert set(manifest["replay"]) == {*v0.lessons, *v1.lessons}
    assert (anew.labels, anew.step_size) == (v1.labels, None), "there is nothing that it moved from"


def test_a_version_knows_no_label_that_a_reviewer_merged_or_retired(stage: Stage) -> None:
    with trainer(stage):
        v0 = first_version(stage)
        serve(stage, v0)
        stage.database.record(decided("login", "retire"), decided("refund", "merge", "money", when=111))
        stage.database.record(*corrected("p", "reimburse me at once", "refund"))
        ask(stage, asked("more"))
        until(lambda: len(stage.of(CandidateTrained)) == 2)
    v1 = stage.of(CandidateTrained)[1]
    _, manifest = stage.artifacts.get(folder_of(v1.version), v1.manifest_sha256)
    assert (v1.parent, v1.labels) == (v0.version, ("parcel", "money"))
    assert manifest["regrouped"] == {"login": None, "refund": "money"}
    assert manifest["label_schema"] == short_hash("parcel", "money")
    assert set(manifest["replay"]) == {example_id(MODEL, text) for text, label in ROWS if label != "login"}


def test_poison_is_put_aside_and_the_next_request_is_answered(stage: Stage) -> None:
    stage.poison(TRAINING_REQUESTS)
    ask(stage, asked("after"))
    with trainer(stage):
        until(lambda: told(stage, "r-after") == ["started", "skipped"])
    # What says nothing is passed over.
    assert stage.dead_letters() == [("trainer", "decode_error", 0), ("trainer", "schema_error", 1)]


def test_a_request_that_leads_nowhere_is_skipped_with_the_reason(stage: Stage) -> None:
    [refused, stranger, early, late] = [asked(name) for name in ("refused", "stranger", "early", "late")]
    parts = range(TRAINING_REQUESTS.partitions)
    with Session(stage.database.engine) as session:
        for part in parts:  # the recorder could not read the first request of each partition
            topic = stage.bus.name(TRAINING_REQUESTS)
            session.add(
                DeadLetter(
                    id=f"{topic}/{part}/0/recorder",
                    topic=topic,
                    partition=part,
                    offset=0,
                    service="recorder",
                    reason="artifact_missing",
                    detail="",
                    occurred_at=NOON,
                )
            )
        session.commit()
    stage.publish(refused)
    ask(stage, stranger)
    with trainer(stage):
        until(lambda: told(stage, "r-stranger")[-1:] == ["skipped"])
        stage.database.record(card(stage, ROWS, ANCHORS))
        ask(stage, early)
        until(lambda: told(stage, "r-early")[-1:] == ["skipped"])
        stage.database.record(trained("v0", lessons=[text for text, _ in ROWS]), crowned("v0"))
        stage.publish(crowned("v0"))
        ask(stage, late)
        until(lambda: told(stage, "r-late")[-1:] == ["skipped"])
    assert reasons(stage, "skipped") == {
        "r-refused": "The recorder put the request to the dead letters: artifact_missing.",
        "r-stranger": "No model of that name was added.",
        "r-early": "The model has no champion to start from.",
        "r-late": "No example is new to the champion.",
    }
    assert stage.of(CandidateTrained) == []


def test_a_request_that_comes_again_is_announced_again_and_not_trained_again(stage: Stage) -> None:
    with trainer(stage):
        v0 = first_version(stage)
        again = card(stage, ROWS, ANCHORS)
        stage.publish(again)
        until(lambda: len(stage.of(CandidateTrained)) == 2)
        until(lambda: told(stage, again.request_id)[-2:] == ["started", "finished"])
    repeated = stage.of(CandidateTrained)[1]
    assert (repeated.event_id, repeated.version) == (v0.event_id, v0.version)
    assert repeated.model_copy(update={"occurred_at": v0.occurred_at}) == v0


def test_files_that_were_altered_are_neither_announced_nor_trained_on(stage: Stage) -> None:
    with trainer(stage):
        v0 = first_version(stage)
        head = stage.folder / "artifacts" / folder_of(v0.version) / "head.safetensors"
        head.write_bytes(head.read_bytes()[:-1] + b"?")
        again = card(stage, ROWS, ANCHORS)
        stage.publish(again)
        until(lambda: told(stage, again.request_id)[-1:] == ["failed"])
        serve(stage, v0)
        stage.database.record(*corrected("p", "reimburse me", "refund"))
        ask(stage, asked("more"))
        until(lambda: told(stage, "r-more")[-1:] == ["failed"])
    details = reasons(stage, "failed")
    assert details.keys() == {again.request_id, "r-more"}
    assert all("head.safetensors is missing or differs from its manifest" in one for one in details.values())
    assert len(stage.of(CandidateTrained)) == 1
