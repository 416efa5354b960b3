"""`learnback backup` and `learnback restore`: the database and the artifacts as one folder, and back from it.

The folder holds `database.sqlite` or `database.dump`, `artifacts/` as a folder store keeps them, and `backup.json`,
written last: without it the folder is no backup. How far the recorder had read is in the database; the places of the
other services are kept by Kafka, and are with the log or as lost as it is.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Engine, delete
from sqlalchemy.exc import DBAPIError

from cli import dumps
from cli.records import away, must_be_there
from services.recorder.digest import digest
from shared.artifacts import ArtifactStore
from shared.errors import ArtifactError, BadInputError
from shared.manifest import sha256
from shared.settings import Platform, load
from shared.tables import Attempt, Consumed, open_database
from shared.tables.release import RELEASE

TOLD = "backup.json"
FILES = {"sqlite": "database.sqlite", "postgresql": "database.dump"}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--database", help="SQLAlchemy URL; the live database when not given.")
@click.option("--artifacts", help="fsspec URL; the live store when not given.")
def backup(folder: Path, database: str | None, artifacts: str | None) -> None:
    """Copy the database and the artifacts into FOLDER, which is not there yet. Services may go on meanwhile."""
    if folder.exists():
        raise BadInputError("folder_exists", f"{folder} is there already; choose another folder.")
    engine, store = _places(database, artifacts)
    must_be_there(engine)
    (folder / "artifacts").mkdir(parents=True)
    file = folder / FILES[engine.dialect.name]
    try:
        rows = dumps.dump(engine, file)
    except DBAPIError as error:
        raise away(error) from None
    finally:
        engine.dispose()
    copied, damaged = _copy(store, ArtifactStore(f"file://{folder.absolute()}/artifacts"), store.folders())
    told = {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "release": RELEASE,
        "database": engine.dialect.name,
        "sha256": sha256(file),
        "digest": rows,
        "artifacts": copied,
    }
    (folder / TOLD).write_text(json.dumps(told, indent=1, sort_keys=True), "utf-8")
    click.echo(f"{rows}  {len(copied)} folders of artifacts")
    if damaged:
        raise ArtifactError(f"The backup is complete but for what is damaged in the store itself: {'; '.join(damaged)}")


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--database", help="SQLAlchemy URL of an empty database; the live one when not given.")
@click.option("--artifacts", help="fsspec URL of an empty store; the live one when not given.")
@click.option("--new-log", is_flag=True, help="Kafka was lost too: the recorder begins at the new log's start.")
def restore(folder: Path, database: str | None, artifacts: str | None, new_log: bool) -> None:
    """Make of FOLDER's backup what it was, in an empty place, and compare. Stop the services before."""
    told = _told(folder)
    engine, store = _places(database, artifacts)
    if engine.dialect.name != told["database"]:
        raise BadInputError("other_database", f"This is a backup of {told['database']}, not of {engine.dialect.name}.")
    file = folder / FILES[engine.dialect.name]
    if not file.is_file() or sha256(file) != told["sha256"]:
        raise ArtifactError(f"{file} is missing or altered: take another backup.")
    if there := store.folders():
        raise BadInputError("not_empty", f"The artifact store holds {there[0]} already; restore into an empty one.")
    try:
        dumps.must_be_empty(engine)
        copied, damaged = _copy(ArtifactStore(f"file://{folder.absolute()}/artifacts"), store, told["artifacts"])
        if damaged or copied != told["artifacts"]:
            raise ArtifactError(f"The backup's artifacts are altered: {'; '.join(damaged) or 'others than it lists'}")
        dumps.restore(engine, file)
        rows = digest(engine)
        if new_log:
            _forget_places(engine)
    except DBAPIError as error:
        raise away(error) from None
    finally:
        engine.dispose()
    if rows != told["digest"]:
        raise ArtifactError(f"The restored database has the digest {rows}, and the backup's is {told['digest']}.")
    click.echo(f"{rows}  {len(copied)} folders of artifacts")


def _places(database: str | None, artifacts: str | None) -> tuple[Engine, ArtifactStore]:
    platform = load(Platform)
    return open_database(database or platform.database), ArtifactStore(artifacts or platform.artifacts_url)


def _copy(source: ArtifactStore, target: ArtifactStore, folders: Any) -> tuple[dict[str, str], list[str]]:
    """Copy folders that are whole: their manifests' digests, and what is wrong with the others."""
    copied: dict[str, str] = {}
    damaged = []
    for folder in folders:
        try:
            target.copy(folder, source.get(folder, source.digest(folder))[0])
        except ArtifactError as error:
            damaged.append(str(error))
        else:
            copied[folder] = str(target.digest(folder))
    return copied, damaged


def _forget_places(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(delete(Consumed))
        connection.execute(delete(Attempt))


def _told(folder: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads((folder / TOLD).read_bytes())
    except (OSError, ValueError):
        raise BadInputError("no_backup", f"{folder} is no backup, or a torn one: it has no {TOLD}.") from None
    if told["release"] != RELEASE:
        raise BadInputError(
            "other_release",
            f"Another release made this backup (revision {told['release']}, here {RELEASE}): restore it with that one,"
            " and start the newer one then.",
        )
    return told
