"""A folder of the store is all there and unaltered, or it is refused with the file's name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.artifacts import MANIFEST, ArtifactStore
from shared.errors import ArtifactError

FOLDER = "adapters/v-1"


@pytest.fixture(params=["local", "remote"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    """The store as a folder, and as an fsspec store with a cache (fsspec's own in-memory one)."""
    url = f"file://{tmp_path}/store" if request.param == "local" else f"memory://{tmp_path.name}"
    return ArtifactStore(url, cache=tmp_path / "cache")


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


def test_a_put_leaves_nothing_half_done(tmp_path: Path, files: Path) -> None:
    store = ArtifactStore(f"file://{tmp_path}/store")
    store.put(FOLDER, files, {})
    assert [path.name for path in (tmp_path / "store/adapters").iterdir()] == ["v-1"]


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
