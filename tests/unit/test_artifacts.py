"""A folder of the store is all there and unaltered, or it is refused with the file's name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.artifacts import ArtifactStore
from shared.errors import ArtifactError, UnavailableError
from shared.manifest import MANIFEST
from tests.s3 import BUCKET

FOLDER = "adapters/v-1"


@pytest.fixture(params=["folder", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    """The store as a folder, and as two remote ones with a cache: fsspec's own in memory, and one that speaks S3."""
    if request.param == "s3":
        request.getfixturevalue("s3_server")
    urls = {"folder": f"file://{tmp_path}/store", "memory": f"memory://{tmp_path.name}", "s3": f"s3://{BUCKET}/some"}
    return ArtifactStore(urls[request.param], cache=tmp_path / "cache")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "adapter.safetensors").write_bytes(bytes(range(256)) * 20)
    (folder / "adapter_config.json").write_text("{}")
    return folder


def test_what_is_put_is_got(store: ArtifactStore, files: Path) -> None:
    digest = store.put(FOLDER, files, {"parent": "v-0"})
    folder, manifest = store.get(FOLDER, digest)
    assert (folder / "adapter.safetensors").read_bytes() == bytes(range(256)) * 20
    assert manifest["parent"] == "v-0"
    assert sorted(manifest["files"]) == ["adapter.safetensors", "adapter_config.json"]
    assert store.digest(FOLDER) == digest
    assert store.digest("adapters/v-2") is None


def test_a_second_put_changes_nothing(store: ArtifactStore, files: Path) -> None:
    digest = store.put(FOLDER, files, {"parent": "v-0"})
    (files / "adapter_config.json").write_text('{"other": 1}')
    assert store.put(FOLDER, files, {"parent": "v-9"}) == digest
    assert store.get(FOLDER, digest)[1]["parent"] == "v-0"


def test_folders_are_listed_copied_and_removed(store: ArtifactStore, files: Path, tmp_path: Path) -> None:
    digest = store.put(FOLDER, files, {"parent": "v-0"})
    store.put("datasets/d", files, {})
    assert store.folders() == ["adapters/v-1", "datasets/d"]
    elsewhere = ArtifactStore(f"file://{tmp_path}/elsewhere")
    elsewhere.copy(FOLDER, store.get(FOLDER)[0])
    assert elsewhere.get(FOLDER, digest)[1] == store.get(FOLDER)[1]
    store.remove(FOLDER)
    assert store.folders() == ["datasets/d"]
    assert store.digest(FOLDER) is None
    with pytest.raises(ArtifactError, match="no manifest"):
        store.get(FOLDER, digest)
    assert store.put(FOLDER, files, {"parent": "v-0"}) == digest


def test_a_put_leaves_nothing_half_done(tmp_path: Path, files: Path) -> None:
    store = ArtifactStore(f"file://{tmp_path}/store")
    store.put(FOLDER, files, {})
    assert [path.name for path in (tmp_path / "store/adapters").iterdir()] == ["v-1"]


def test_a_disk_that_refuses_keeps_nothing_and_says_so(tmp_path: Path, files: Path) -> None:
    (tmp_path / "store").write_text("no folder")
    store = ArtifactStore(f"file://{tmp_path}/store")
    with pytest.raises(UnavailableError, match=f"disk refuses {FOLDER}"):
        store.put(FOLDER, files, {})


def test_what_is_missing_is_named(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactError, match="adapters/none"):
        store.get("adapters/none")


def test_another_manifest_than_announced_is_refused(store: ArtifactStore, files: Path) -> None:
    store.put(FOLDER, files, {})
    with pytest.raises(ArtifactError, match="not the one that was announced"):
        store.get(FOLDER, "0" * 64)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(_flip, id="one bit"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-1]), id="torn"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-50] + bytes(50)), id="zero tail"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes() + b"\0"), id="longer"),
        pytest.param(Path.unlink, id="missing"),
    ],
)
def test_a_damaged_file_is_named_and_refused(tmp_path: Path, files: Path, damage: object) -> None:
    store = ArtifactStore(f"file://{tmp_path}/store")
    digest = store.put(FOLDER, files, {})
    assert callable(damage)
    damage(tmp_path / "store" / FOLDER / "adapter.safetensors")
    with pytest.raises(ArtifactError, match=r"adapter\.safetensors is missing or differs"):
        store.get(FOLDER, digest)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"files": 3}'])
def test_a_torn_manifest_is_refused(tmp_path: Path, files: Path, text: str) -> None:
    store = ArtifactStore(f"file://{tmp_path}/store")
    store.put(FOLDER, files, {})
    (tmp_path / "store" / FOLDER / MANIFEST).write_text(text)
    with pytest.raises(ArtifactError, match="torn"):
        store.get(FOLDER)


def test_a_manifest_cannot_point_outside(tmp_path: Path, files: Path) -> None:
    store = ArtifactStore(f"file://{tmp_path}/store")
    store.put(FOLDER, files, {})
    manifest = tmp_path / "store" / FOLDER / MANIFEST
    manifest.write_text(json.dumps({"files": {"../../../etc/passwd": "0" * 64}}))
    with pytest.raises(ArtifactError, match="outside"):
        store.get(FOLDER)
