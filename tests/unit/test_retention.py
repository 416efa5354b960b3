"""Files of refused candidates may go after a while; never those of what served, of its ancestors, of what is open."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as some

from cli.prune import prune
from schemas.events import VerdictReached
from services.recorder.lineage import ancestry
from services.recorder.retention import removable
from shared.artifacts import ArtifactStore
from shared.tables import open_database
from tests.unit.recorder_story import NOON, Database, crowned, judged, trained

LATER = NOON + timedelta(days=90)


def refused(version: str, when: float = 60, outcome: str = "reject") -> VerdictReached:
    return judged(version, when=when).model_copy(update={"outcome": outcome})


def asked(database: Database, before: timedelta = timedelta(days=90)) -> list[str]:
    with database.engine.connect() as connection:
        return removable(connection, NOON + before)


def lived(database: Database) -> Database:
    """v0 and v2 served; v1, between them, never did; v3 and v4 were refused, v5 is the newest, v6's verdict is due."""
    database.record(trained("v0"), crowned("v0"), trained("v1", "v0"), refused("v1"))
    database.record(trained("v2", "v1"), judged("v2"), crowned("v2", "v0"))
    database.record(trained("v3", "v2"), refused("v3"), trained("v4", "v2"), refused("v4", outcome="inconclusive"))
    database.record(trained("v6", "v4"), trained("v5", "v2"), refused("v5"))
    return database


@pytest.mark.usefixtures("everywhere")
def test_only_what_was_refused_and_what_nobody_builds_on_may_go() -> None:
    database = lived(Database())
    assert asked(database) == ["v3"]  # v6 goes on from v4
    assert asked(database, timedelta(seconds=30)) == []  # too early
    database.record(refused("v6"), trained("v7", "v2"))
    assert asked(database) == ["v3", "v4", "v5", "v6"]
    database.record(crowned("v4", "v2", when=80))  # a person's decision
    assert asked(database) == ["v3", "v5", "v6"]


@settings(deadline=None, max_examples=50)
@given(
    parents=some.lists(some.integers(0, 20), max_size=12),
    served=some.sets(some.integers(0, 12)),
    verdicts=some.dictionaries(some.integers(0, 12), some.sampled_from(["reject", "inconclusive", "promote"])),
)
def test_no_ancestor_of_what_served_ever_goes(parents: list[int], served: set[int], verdicts: dict[int, str]) -> None:
    database = Database()
    line = {f"v{number}": f"v{parent % number}" if number else None for number, parent in enumerate(parents)}
    database.record(*[trained(version, parent) for version, parent in line.items()])
    database.record(*[refused(f"v{number}", outcome=outcome) for number, outcome in verdicts.items()])
    database.record(*[crowned(f"v{number}", when=70 + number) for number in served])
    gone = set(asked(database))
    kept = {one for number in served for one in ancestry(f"v{number}", dict(line))}
    assert not gone & kept
    assert all(verdicts[int(version[1:])] != "promote" for version in gone)
    database.engine.dispose()


def test_the_command_removes_them_and_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARNBACK_DATABASE_URL", f"sqlite:///{tmp_path}/learnback.db")
    monkeypatch.setenv("LEARNBACK_ARTIFACTS_URL", f"file://{tmp_path}/store")
    database = lived(Database(engine=open_database(f"sqlite:///{tmp_path}/learnback.db")))
    database.engine.dispose()
    store, made = ArtifactStore(f"file://{tmp_path}/store"), tmp_path / "made"
    made.mkdir()
    for number in range(7):
        store.put(f"versions/v{number}", made, {})

    def run(*options: str) -> str:
        done = CliRunner().invoke(prune, options, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    days = str((LATER - NOON).days)
    assert run("--days", days, "--dry-run") == run("--days", days) == ""  # the verdicts are of yesterday, or of today
    monkeypatch.setattr("cli.prune.removable", lambda connection, _before: removable(connection, LATER))
    assert run("--days", days, "--dry-run") == "versions/v3\n"
    assert len(store.folders()) == 7
    assert run("--days", days) == "versions/v3\n"
    assert store.folders() == [f"versions/v{number}" for number in (0, 1, 2, 4, 5, 6)]
    assert run("--days", days) == ""
