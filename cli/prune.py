"""`learnback prune`: remove the files of candidates that were not let in, some time ago."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
from sqlalchemy.exc import DBAPIError

from cli.records import away, must_be_there
from services.recorder.retention import removable
from shared.artifacts import ArtifactStore
from shared.settings import Platform, load
from shared.tables import open_database


@click.command()
@click.option("--days", type=click.IntRange(min=1), required=True, help="Kept for so long after their last verdict.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed.")
def prune(days: int, dry_run: bool) -> None:
    """Remove the artifacts of versions that never served and that no version which did was made from."""
    platform = load(Platform)
    store, engine = ArtifactStore(platform.artifacts_url), open_database(platform.database)
    must_be_there(engine)
    try:
        with engine.connect() as connection:
            versions = removable(connection, datetime.now(UTC) - timedelta(days=days))
    except DBAPIError as error:
        raise away(error) from None
    finally:
        engine.dispose()
    there = [folder for folder in (f"versions/{version}" for version in versions) if store.digest(folder) is not None]
    for folder in there:
        if not dry_run:
            store.remove(folder)
        click.echo(folder)
    click.echo(f"{len(there)} versions {'would be ' if dry_run else ''}removed.", err=True)
