"""From a request to the ledger on a real broker: what a collector accepted is there, and what is missing is seen."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from schemas.events import EventsCounted
from shared.envelope import INSTANCE, seal
from shared.kafka import Bus
from shared.tables import LedgerRow
from shared.topics import FEEDBACK
from tests.conftest import free_port
from tests.kafka.recorders import until
from tests.kafka.test_collector import THUMBS, collector
from tests.kafka.test_recorder import Place
from tests.unit.recorder_story import said

pytestmark = pytest.mark.kafka


@contextmanager
def recorder(place: Place) -> Iterator[httpx.Client]:
    """A recorder, and what it shows."""
    port = free_port()
    settings = {
        "LEARNBACK_KAFKA_BOOTSTRAP_SERVERS": place.bus.servers,
        "LEARNBACK_TOPIC_PREFIX": place.bus.prefix,
        "LEARNBACK_DATABASE_URL": place.url,
        "LEARNBACK_ARTIFACTS_URL": f"file://{place.folder}/artifacts",
        "LEARNBACK_POLICY_FILE": f"{place.folder}/learnback.toml",
        "LEARNBACK_RECORDER_PORT": str(port),
    }
    process = subprocess.Popen([sys.executable, "-m", "services.recorder"], env=os.environ | settings)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            yield client
    finally:
        process.kill()
        process.wait(10)


def shown(client: httpx.Client, sample: str) -> float | None:
    """A sample of the recorder's metrics."""
    lines = client.get("/metrics").text.splitlines()
    return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(sample)), None)


def test_a_killed_collectors_events_are_accounted_for_and_a_lost_one_is_seen(bus: Bus, tmp_path: Path) -> None:
    place = Place(bus, tmp_path)
    with collector(tmp_path, bus) as first:
        first.until_connected()
        for number in range(12):
            answer = first.http.post("/v1/feedback", json={**THUMBS, "event_id": f"e{number}"})
            assert answer.status_code == 202
        first.process.kill()
    with recorder(place) as client, bus.publisher() as publisher:
        until(lambda: sum(row.stored for row in place.rows(LedgerRow)) == 12 if place.count(LedgerRow) else False)
        assert all(row.missing == 0 for row in place.rows(LedgerRow))
        assert shown(client, "learnback_e2e_visible_seconds_count") == 12
        until(lambda: shown(client, 'learnback_ledger_imbalance{window="24h"}') == 0)
        lost = said("p-lost", "up").model_copy(update={"occurred_at": datetime.now(UTC) - timedelta(minutes=9)})
        publisher.publish(
            EventsCounted(
                event_id="n1", occurred_at=datetime.now(UTC), source="collector", instance="gone",
                bucket=lost.occurred_at.replace(second=0, microsecond=0), accepted=1,
            )
        )  # fmt: skip
        until(lambda: shown(client, 'learnback_ledger_imbalance{window="24h"}') == 1)
        record = seal(lost, instance="gone")
        assert (INSTANCE, b"gone") in record.headers
        publisher.producer.send(bus.name(FEEDBACK), key=record.key, value=record.value, headers=record.headers)
        publisher.producer.flush()
        until(lambda: shown(client, 'learnback_ledger_imbalance{window="24h"}') == 0)


def test_a_collector_says_its_counts_before_it_ends(bus: Bus, tmp_path: Path) -> None:
    with collector(tmp_path, bus) as running:
        running.until_connected()
        assert running.http.post("/v1/feedback", json=[{**THUMBS, "event_id": f"e{n}"} for n in range(3)]).is_success
        running.process.terminate()
        assert running.process.wait(30) == 0
    place = Place(bus, tmp_path)
    with recorder(place):
        until(lambda: place.count(LedgerRow) > 0 and sum(row.accepted for row in place.rows(LedgerRow)) == 3)
        assert [row.missing for row in place.rows(LedgerRow)] == [0]
