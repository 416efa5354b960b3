"""Fixtures of several unit tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.unit.collector_desk import Desk


@pytest.fixture(scope="module")
def open_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with asyncio.Runner() as runner:
        yield Desk(tmp_path_factory.mktemp("keys"), runner)


@pytest.fixture
def desk(open_desk: Desk) -> Desk:
    open_desk.start_again()
    return open_desk
