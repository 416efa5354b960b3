"""The predictor before a server that speaks vLLM's interface: the topic names the version that answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.artifacts import ArtifactStore
from shared.kafka import Bus
from tests.kafka.models_topic import publish
from tests.kafka.test_collector import eventually
from tests.kafka.test_predictor import predictor, stored
from tests.unit.test_predictor_talk import BASE, champion, talking
from tests.vllm_server import Vllm, Weights
from tests.weights import Version

pytestmark = pytest.mark.kafka
BODY = {"model": "helper", "input": "Name the capital of France.", "max_tokens": 4}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Vllm]:
    server = Vllm(Weights(BASE))
    server.start()
    monkeypatch.setenv("LEARNBACK_PREDICTOR_VLLM", json.dumps({BASE: server.url}))
    monkeypatch.setenv("LEARNBACK_PREDICTOR_VLLM_FOLDER", str(tmp_path / "adapters"))
    yield server
    server.stop()


@pytest.fixture
def versions(tmp_path: Path) -> tuple[Version, Version]:
    return talking(ArtifactStore(f"file://{tmp_path}/artifacts"), tmp_path)


def test_a_promotion_reaches_the_server_and_predictions_name_who_answered(
    tmp_path: Path, bus: Bus, server: Vllm, versions: tuple[Version, Version]
) -> None:
    first, second = versions
    publish(bus, champion(first))
    with predictor(tmp_path, bus) as running:
        eventually(lambda: running.answers("/readyz", 200), 60)
        assert running.predict(**BODY, prediction_id="p-1").json()["version"] == first.id
        publish(bus, champion(second))
        eventually(lambda: running.version == second.id, 60)
        assert running.predict(**BODY, prediction_id="p-2").json()["version"] == second.id
        metrics = running.http.get("/metrics").text
        assert f'learnback_vllm_up{{base="{BASE}"}} 1.0' in metrics
        assert f'learnback_vllm_loads_total{{base="{BASE}"}} 2.0' in metrics
    events = {event.prediction_id: event for event in stored(bus)}
    assert [events[name].version for name in ("p-1", "p-2")] == [first.id, second.id]
    assert events["p-1"].output != events["p-2"].output
    assert set(server.adapters) >= {second.id}
