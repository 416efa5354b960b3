"""Hostile HTTP against services as their users run them: the smoke of what `make nemesis` does ten thousand times."""

from __future__ import annotations

from pathlib import Path

import pytest

from nemesis.hostile import GIGABYTE, Hostile, endless_body, fuzz
from shared.artifacts import ArtifactStore
from shared.kafka import Bus
from tests.kafka.models_topic import publish
from tests.kafka.test_collector import collector, eventually
from tests.kafka.test_predictor import predictor
from tests.weights import ROWS, make_version

pytestmark = pytest.mark.kafka
CASES = 200
MOST_GROWTH = 50_000_000


def test_no_request_that_schemathesis_thinks_of_gets_a_5xx_or_an_undocumented_answer(tmp_path: Path, bus: Bus) -> None:
    with collector(tmp_path, bus) as running:
        running.until("/readyz", 200)
        key = running.http.headers["authorization"].removeprefix("Bearer ")
        found = Hostile()
        fuzz(str(running.http.base_url).rstrip("/"), key, CASES, 4, found)
        assert found.cases == CASES
        assert found.wrong == []
        assert {202, 400, 422} <= found.statuses.keys()


def test_a_predictor_documents_all_that_it_answers(tmp_path: Path, bus: Bus) -> None:
    version = make_version(ArtifactStore(f"file://{tmp_path}/artifacts"), ROWS)
    publish(bus, version.champion())
    with predictor(tmp_path, bus) as running:
        eventually(lambda: running.answers("/readyz", 200))
        url, key = str(running.http.base_url).rstrip("/"), running.http.headers["authorization"].removeprefix("Bearer ")
        found = Hostile()
        fuzz(url, key, CASES, 4, found)
        assert found.wrong == []
        assert {400, 404, 422} <= found.statuses.keys()


def test_a_body_of_a_gigabyte_costs_no_memory(tmp_path: Path, bus: Bus) -> None:
    with collector(tmp_path, bus) as running:
        running.until("/readyz", 200)
        key = running.http.headers["authorization"].removeprefix("Bearer ")
        url = running.http.base_url
        grown, answer = endless_body(running.process.pid, url.host, url.port or 0, key, GIGABYTE)
        assert answer.startswith(b"HTTP/1.1 413") or not answer
        assert grown < MOST_GROWTH
        assert running.http.get("/readyz").status_code == 200
