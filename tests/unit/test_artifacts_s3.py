"""A store that speaks S3: uploads that were torn, copies that were torn, and a store that is away for a while."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from kafka import TopicPartition

from schemas.events import ModelCard, TrainingRequested
from services.predictor.serving import Serving
from services.recorder.intake import Intake
from services.recorder.recording import Recording
from services.trainer.place import InterruptedTrainingError, Place
from shared.artifacts import ArtifactStore
from shared.datasets import Row, store_dataset
from shared.errors import ArtifactError, UnavailableError
from shared.manifest import MANIFEST, sha256
from shared.observe import Pulse
from shared.tables import Example
from tests.s3 import BUCKET, S3
from tests.unit.recorder_records import BUS, Tape
from tests.unit.recorder_story import MODEL, at, crowned

FOLDER = "versions/v-1"
WEIGHTS = bytes(range(256)) * 4000


@pytest.fixture
def store(s3_server: S3, tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(f"s3://{BUCKET}/here", cache=tmp_path / "cache")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "adapter.safetensors").write_bytes(WEIGHTS)
    (folder / "labels.json").write_text("[]")
    return folder


def key(files: Path, name: str) -> str:
    return f"here/{FOLDER}/{sha256(files / name)}/{name}"


def test_what_is_damaged_in_the_store_is_named_and_refused(s3_server: S3, store: ArtifactStore, files: Path) -> None:
    digest = store.put(FOLDER, files, {})
    weights = s3_server.bucket.Object(key(files, "adapter.safetensors"))
    for damaged in (WEIGHTS[:-1], WEIGHTS[:-50] + bytes(50), b"", WEIGHTS + b"\0"):
        weights.put(Body=damaged)
        with pytest.raises(ArtifactError, match=r"adapter\.safetensors is missing or differs"):
            store.get(FOLDER, digest)
    weights.delete()
    with pytest.raises(ArtifactError, match=r"adapter\.safetensors is missing or differs"):
        store.get(FOLDER, digest)
    weights.put(Body=WEIGHTS)
    assert (store.get(FOLDER, digest)[0] / "adapter.safetensors").read_bytes() == WEIGHTS


def test_a_copy_on_this_machine_is_used_while_it_is_whole_and_brought_anew_when_not(
    s3_server: S3, store: ArtifactStore, files: Path
) -> None:
    digest = store.put(FOLDER, files, {})
    folder, _ = store.get(FOLDER, digest)
    (folder / "adapter.safetensors").write_bytes(WEIGHTS[:-50] + bytes(50))
    assert (store.get(FOLDER, digest)[0] / "adapter.safetensors").read_bytes() == WEIGHTS
    (folder / MANIFEST).write_text("{")
    assert store.get(FOLDER, digest)[1]["files"]
    s3_server.stop()
    assert store.get(FOLDER, digest)[0] == folder
    (folder / "labels.json").unlink()
    with pytest.raises(UnavailableError, match=FOLDER):
        store.get(FOLDER, digest)
    s3_server.start()
    assert (store.get(FOLDER, digest)[0] / "labels.json").read_text() == "[]"
    assert [path.name for path in folder.parent.iterdir()] == ["v-1"]


def test_a_torn_upload_is_no_folder_and_the_next_one_completes_it(
    s3_server: S3, store: ArtifactStore, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store._remote is not None
    s3 = store._remote._files
    put_file = s3.put_file
    sent: list[str] = []

    def die(source: str, target: str) -> None:
        if sent:
            s3_server.stop()  # in the middle: one file is there, and the manifest is not
        sent.append(target)
        put_file(source, target)

    monkeypatch.setattr(s3, "put_file", die)
    with pytest.raises(UnavailableError, match=rf"does not answer for {FOLDER} \(EndpointConnectionError\)"):
        store.put(FOLDER, files, {})
    monkeypatch.setattr(s3, "put_file", put_file)
    s3_server.start()
    assert s3_server.keys() == {key(files, "adapter.safetensors")}
    assert store.digest(FOLDER) is None
    assert store.folders() == []
    with pytest.raises(ArtifactError, match="no manifest"):
        store.get(FOLDER)
    digest = store.put(FOLDER, files, {})
    assert (store.get(FOLDER, digest)[0] / "adapter.safetensors").read_bytes() == WEIGHTS


def test_two_that_upload_one_folder_at_a_time_leave_one_whole_folder(
    s3_server: S3, store: ArtifactStore, files: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another machine's sums may differ in the last bit, and its times do."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "adapter.safetensors").write_bytes(WEIGHTS[::-1])
    assert store._remote is not None
    manifest = store._remote.manifest
    with monkeypatch.context() as patch:
        patch.setattr(store._remote, "manifest", lambda _folder: None)  # as both of them see it before
        store.put(FOLDER, files, {"seconds": 1})
        store.put(FOLDER, other, {"seconds": 2})
    assert manifest(FOLDER) is not None
    folder, told = store.get(FOLDER, store.digest(FOLDER))
    assert told["seconds"] == 2
    assert (folder / "adapter.safetensors").read_bytes() == WEIGHTS[::-1]


@pytest.mark.usefixtures("s3_server")
def test_a_bucket_that_is_not_there_is_said_to_be_away(tmp_path: Path, files: Path) -> None:
    with pytest.raises(UnavailableError, match="bucket fit"):
        ArtifactStore("s3://nobody-s/here", cache=tmp_path).put(FOLDER, files, {})


def test_a_models_card_waits_for_a_store_that_is_away_and_is_no_dead_letter(
    s3_server: S3, store: ArtifactStore
) -> None:
    examples = store_dataset(store, [Row(text="where is it", label="parcel"), Row(text="money", label="refund")])
    card = ModelCard(task="classification", base="b", examples=examples)
    request = TrainingRequested(
        event_id="add",
        occurred_at=at(0),
        source="collector",
        request_id="r",
        model=MODEL,
        trigger="added",
        requested_by="rita",
        card=card,
    )
    tape = Tape()
    tape.recording = Recording(Intake(BUS, tape.shelf, store), tape.database.engine, tape.database.policies)
    s3_server.stop()
    with pytest.raises(UnavailableError):
        tape.say(request)
    assert not tape.shelf.sent
    assert not tape.database.rows(Example)
    s3_server.start()
    tape.take(tape.records)
    assert len(tape.database.rows(Example)) == 2
    assert not tape.shelf.sent


def test_a_swap_whose_store_is_away_is_for_later_and_refused_by_nobody(
    s3_server: S3, store: ArtifactStore, files: Path
) -> None:
    state = crowned("v-1").model_copy(update={"manifest_sha256": store.put(FOLDER, files, {})})
    serving = Serving(store)
    s3_server.stop()
    try:
        with pytest.raises(UnavailableError):
            serving.prepare(state)
    finally:
        s3_server.start()
    assert serving.refused(MODEL) is None


@dataclass
class Idle:
    """A consumer that has one partition, and nothing new in it; when it is polled a second time, something happens."""

    part: TopicPartition
    happens: Callable[[], None]
    polled: int = 0

    def assignment(self) -> set[TopicPartition]:
        return {self.part}

    def pause(self, *_parts: TopicPartition) -> None:
        pass

    def poll(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[object]]:
        self.polled += 1
        if self.polled == 2:
            self.happens()
        return {}


def test_a_trainer_keeps_what_it_trained_until_the_store_is_back_and_polls_meanwhile(
    s3_server: S3, store: ArtifactStore, files: Path
) -> None:
    idle, stopping = Idle(TopicPartition("requests", 0), s3_server.start), threading.Event()
    place = Place(cast(Any, idle), Pulse(), stopping)
    s3_server.stop()
    digest = place.patiently(idle.part, lambda: store.put(FOLDER, files, {}))
    assert store.digest(FOLDER) == digest
    assert idle.polled >= 2
    s3_server.stop()
    stopping.set()
    with pytest.raises(InterruptedTrainingError):
        place.patiently(idle.part, lambda: store.put("versions/v-2", files, {}))


def test_a_cache_that_cannot_be_written_is_no_fault_of_the_folder(
    s3_server: S3, store: ArtifactStore, files: Path, tmp_path: Path
) -> None:
    store.put(FOLDER, files, {})
    (tmp_path / "taken").write_text("a file where the cache should be")
    with pytest.raises(UnavailableError, match="XDG_CACHE_HOME"):
        ArtifactStore(f"s3://{BUCKET}/here", cache=tmp_path / "taken").get(FOLDER)
