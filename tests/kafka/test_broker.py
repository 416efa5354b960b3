"""The broker that needs no Docker."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from local.broker import prepare
from tests.conftest import free_port

pytestmark = pytest.mark.kafka


def test_a_cluster_whose_id_begins_with_a_dash_is_formatted_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = uuid.UUID(bytes=b"\xfb" + b"\xff" * 15)
    monkeypatch.setattr(uuid, "uuid4", lambda: drawn)
    prepare(tmp_path, free_port())
    assert "cluster.id=-" in (tmp_path / "log" / "meta.properties").read_text()
