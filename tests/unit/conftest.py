"""Fixtures of several unit tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import Engine

from shared.tables import open_database
from tests.s3 import S3, s3
from tests.unit import recorder_story
from tests.unit.collector_desk import Desk


@pytest.fixture(scope="module")
def open_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with asyncio.Runner() as runner:
        yield Desk(tmp_path_factory.mktemp("keys"), runner)


@pytest.fixture
def desk(open_desk: Desk) -> Desk:
    open_desk.start_again()
    return open_desk


@pytest.fixture
def s3_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    with s3(monkeypatch) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def everywhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A story is told on SQLite, and again on Postgres where there is one."""
    with ExitStack() as stack:
        if request.param == "postgres":
            new_schema = request.getfixturevalue("new_schema")

            def on_postgres() -> Engine:
                engine = open_database(new_schema())
                stack.callback(engine.dispose)
                return engine

            monkeypatch.setattr(recorder_story, "new_engine", on_postgres)
        yield
