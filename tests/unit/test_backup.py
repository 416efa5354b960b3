"""A backup is restored into an empty place, on SQLite and Postgres, and is then the same to the last row and file."""

from __future__ import annotations

import json
import shutil
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine, make_url, text
from sqlmodel import Session, select

from cli.backup import TOLD, backup, restore
from services.recorder.__main__ import prepare
from services.recorder.digest import digest
from services.recorder.sql import replace
from shared.artifacts import ArtifactStore
from shared.errors import ArtifactError, BadInputError
from shared.tables import Consumed, open_database
from tests.s3 import BUCKET, S3
from tests.unit.recorder_story import Database, added, corrected, crowned, served, trained


@dataclass
class Place:
    """An installation's database and artifacts, and where its backup lies."""

    url: str
    elsewhere: str
    folder: Path

    @property
    def store(self) -> ArtifactStore:
        return ArtifactStore(f"file://{self.folder}/live")

    @property
    def kept(self) -> Path:
        return self.folder / "backup"

    def run(self, *arguments: str) -> str:
        done = CliRunner().invoke(
            backup if arguments[0] == "backup" else restore, [str(self.kept), *arguments[1:]], catch_exceptions=False
        )
        assert done.exit_code == 0, done.output
        return done.stdout

    def backup(self) -> str:
        return self.run("backup", "--database", self.url, "--artifacts", f"file://{self.folder}/live")

    def restore(self, *more: str, artifacts: str = "") -> str:
        store = artifacts or f"file://{self.folder}/restored"
        return self.run("restore", "--database", self.elsewhere, "--artifacts", store, *more)

    def live(self) -> None:
        """Let something happen."""
        engine = open_database(self.url)
        prepare(engine)
        story = Database(engine=engine)
        story.record(added(story, [("where is it", "parcel"), ("give it back", "refund")], [("hello", "other")]))
        story.record(*corrected("p1", "my parcel", "parcel"), *corrected("p2", "мой возврат", "refund"))
        story.record(trained("v0"), trained("v1", "v0", ["my parcel"], ["parcel", "refund"]), crowned("v1"))
        with engine.begin() as connection:
            replace(connection, [Consumed(topic="learnback.feedback.v1", partition=3, next_offset=7)])
        engine.dispose()
        made = self.folder / "made"
        made.mkdir()
        (made / "adapter.safetensors").write_bytes(bytes(range(256)) * 100)
        for name in ("versions/v0", "versions/v1", "datasets/d"):
            self.store.put(name, made, {"of": name})


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        here = Place(f"sqlite:///{tmp_path}/learnback.db", f"sqlite:///{tmp_path}/there/learnback.db", tmp_path)
        here.live()
        yield here
        return
    if shutil.which("pg_dump") is None:
        pytest.skip("no pg_dump here: install Postgres")
    admin = create_engine(request.getfixturevalue("postgres_url"), isolation_level="AUTOCOMMIT")
    names = [f"t{uuid.uuid4().hex[:10]}" for _ in range(2)]
    with admin.connect() as connection:
        for name in names:
            connection.execute(text(f"CREATE DATABASE {name}"))
    urls = [make_url(admin.url).set(database=name).render_as_string(hide_password=False) for name in names]
    here = Place(urls[0], urls[1], tmp_path)
    here.live()
    yield here
    with admin.connect() as connection:
        for name in names:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


def digest_of(url: str) -> str:
    engine = open_database(url)
    try:
        return digest(engine)
    finally:
        engine.dispose()


def places(url: str) -> list[int]:
    engine = open_database(url)
    with Session(engine) as session:
        found = [row.next_offset for row in session.exec(select(Consumed))]
    engine.dispose()
    return found


def test_what_is_restored_is_what_was_there(place: Place) -> None:
    before = digest_of(place.url)
    assert place.backup() == f"{before}  3 folders of artifacts\n"
    assert place.restore() == f"{before}  3 folders of artifacts\n"
    assert digest_of(place.elsewhere) == before
    restored = ArtifactStore(f"file://{place.folder}/restored")
    for name in ("versions/v0", "versions/v1", "datasets/d"):
        assert restored.get(name, place.store.digest(name))[1]["of"] == name
    assert places(place.elsewhere) == [7]
    engine = open_database(place.elsewhere)
    prepare(engine)  # a recorder starts on it and goes on
    Database(engine=engine).record(served("p9", "later"))
    engine.dispose()
    assert digest_of(place.elsewhere) != before


def test_a_backup_is_of_one_moment_while_the_recorder_writes(place: Place) -> None:
    stop = threading.Event()

    def write() -> None:
        engine = open_database(place.url)
        story = Database(engine=engine)
        for number in range(10_000):
            if stop.is_set():
                break
            story.record(*corrected(f"w{number}", f"text {number}", "parcel", user=f"{number:032x}"))
        engine.dispose()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        told = place.backup()
    finally:
        stop.set()
        writer.join()
    assert place.restore() == told
    assert digest_of(place.elsewhere) == told.split()[0]


def test_with_a_new_log_the_recorder_begins_at_its_start(place: Place) -> None:
    place.backup()
    place.restore("--new-log")
    assert places(place.elsewhere) == []


@pytest.mark.parametrize("full", ["database", "artifacts", "backup"])
def test_nothing_is_written_over(place: Place, full: str) -> None:
    place.backup()
    if full == "backup":
        with pytest.raises(BadInputError, match="is there already"):
            place.backup()
        return
    if full == "database":
        engine = open_database(place.elsewhere)
        if engine.dialect.name == "sqlite":
            (place.folder / "there").mkdir()
        prepare(engine)
        engine.dispose()
    else:
        ArtifactStore(f"file://{place.folder}/restored").put("versions/other", place.folder / "made", {})
    with pytest.raises(BadInputError, match="restore into an empty one"):
        place.restore()
    assert not (place.folder / "restored/versions/v0").exists()


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("what", ["database.*", "artifacts/versions/v1/adapter.safetensors", "artifacts/datasets/d"])
def test_a_damaged_backup_is_refused(place: Place, what: str) -> None:
    place.backup()
    found = next(place.kept.glob(what))
    shutil.rmtree(found) if found.is_dir() else _flip(found)
    with pytest.raises(ArtifactError, match="altered"):
        place.restore()
    (place.kept / TOLD).unlink()
    with pytest.raises(BadInputError, match="is no backup, or a torn one"):
        place.restore()


def test_what_is_damaged_in_the_store_is_named_and_the_rest_is_kept(place: Place) -> None:
    _flip(place.folder / "live/versions/v0/adapter.safetensors")
    with pytest.raises(ArtifactError, match=r"complete but .*versions/v0/adapter\.safetensors"):
        place.backup()
    place.restore()
    assert ArtifactStore(f"file://{place.folder}/restored").folders() == ["datasets/d", "versions/v1"]


@pytest.mark.parametrize("change", [{"release": "0000"}, {"database": "oracle"}])
def test_a_backup_of_another_kind_is_refused(place: Place, change: dict[str, str]) -> None:
    place.backup()
    told = json.loads((place.kept / TOLD).read_text())
    (place.kept / TOLD).write_text(json.dumps(told | change))
    with pytest.raises(BadInputError, match=r"Another release made this backup|is a backup of oracle"):
        place.restore()


def test_a_store_that_speaks_s3_is_filled_from_a_backup(place: Place, s3_server: S3) -> None:
    before = digest_of(place.url)
    place.backup()
    assert place.restore(artifacts=f"s3://{BUCKET}/restored").startswith(before)
    restored = ArtifactStore(f"s3://{BUCKET}/restored", cache=place.folder / "cache")
    assert restored.get("versions/v1", place.store.digest("versions/v1"))[1]["of"] == "versions/v1"
