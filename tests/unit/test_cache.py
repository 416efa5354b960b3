"""The Kafka cache is whole, or says in one sentence what to do."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import jgo
import pytest

from local.cache import kafka_jars
from shared.errors import FatalError


@pytest.fixture(autouse=True)
def maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two jars that can be resolved, and what was asked for."""
    asked: list[str] = []
    jars = [tmp_path / "kafka.jar", tmp_path / "scala.jar"]
    for jar in jars:
        jar.write_text(jar.name)

    def build(endpoint: str) -> SimpleNamespace:
        asked.append(endpoint)
        return SimpleNamespace(all_jars=jars)

    monkeypatch.setattr(jgo, "build", build)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return asked


def test_jars_are_resolved_once(maven: list[str]) -> None:
    assert [jar.name for jar in kafka_jars()] == ["kafka.jar", "scala.jar"]
    assert kafka_jars() == kafka_jars()
    assert len(maven) == 1


@pytest.mark.parametrize("index", [None, "", "{", "[]", "{}", json.dumps({"absent.jar": "0"})])
def test_a_corrupt_cache_is_named_with_what_to_do(index: str | None) -> None:
    jar = kafka_jars()[0]
    if index is None:
        jar.write_text("altered")
    else:
        (jar.parent / "index.json").write_text(index)
    with pytest.raises(
        FatalError, match=r"The Kafka cache .* is corrupt \(.*\)\. Remove the folder and run make again\."
    ):
        kafka_jars()


def test_no_network_at_the_first_set_up_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(endpoint: str) -> NoReturn:
        raise ConnectionError(endpoint)

    monkeypatch.setattr(jgo, "build", away)
    with pytest.raises(FatalError, match=r"Could not get the Kafka .* jars \(ConnectionError\)\. .* run make again\."):
        kafka_jars()
