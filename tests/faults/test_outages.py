"""Kafka, the spool's disk and the database fail for a while: what was accepted is kept, what was refused is nowhere.

In CI the faults are short. `LEARNBACK_FAULT_SECONDS=120 make test TESTS="tests/faults"` makes them last two minutes.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.kafka import Bus
from shared.tables import DeadLetter, FeedbackRow
from shared.topics import FEEDBACK
from tests.conftest import free_port
from tests.crash.scene import Scene, until
from tests.faults.place import Place, await_recorded, collecting, eventually, rows, seconds
from tests.kafka.test_collector import broker
from tests.unit.recorder_story import said

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(600)]


def test_a_broker_that_is_down_costs_no_event_and_no_order(tmp_path: Path) -> None:
    port = free_port(2)
    with contextlib.ExitStack() as stack:
        with broker(tmp_path, port) as bus:
            bus.create_topics()
            place = stack.enter_context(Place(Scene(bus, tmp_path)))
            stack.enter_context(collecting(place))
            until(lambda: place.scene.answers("collector"), "the collector is ready")
            place.post_for(2)
        place.post_for(seconds(in_ci=20))
        assert {status for status, _ in place.statuses()} == {202}
        assert place.statuses()[202, "spool"] > 100
        with broker(tmp_path, port):
            place.post_for(2)
            eventually(lambda: place.spooled() == 0, "the spool is drained")
            assert place.on_topic(FEEDBACK) == place.accepted
            with place.scene.running("recorder"):
                await_recorded(place.scene, FEEDBACK)
            assert place.stored() == place.accepted
            stack.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Twenty-four megabytes, five of which the spool holds free."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("WARNING: only root may mount a small disk; what a full one does is NOT tested")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_refuses_and_keeps_nothing_of_what_it_refused(tmp_path: Path, bus: Bus, small_disk: Path) -> None:
    spool = {"LEARNBACK_COLLECTOR_SPOOL_FILE": str(small_disk / "spool.db")}
    with Place(Scene(bus, tmp_path)) as place:
        fill_and_drain(place, spool)


def fill_and_drain(place: Place, spool: dict[str, str]) -> None:
    with collecting(place, LEARNBACK_KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}", **spool):
        while place.post(50, padding=3000).status_code == 202:
            assert len(place.accepted) < 10_000, "the disk does not become full"
        assert [place.post(50, padding=3000).status_code for _ in range(5)] == [503] * 5
        answer = place.answers[-1]
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["retryable"] is True
        assert len(place.accepted) > 500
    with collecting(place, **spool):
        eventually(lambda: place.scene.answers("collector") and place.spooled() == 0, "the spool is drained")
        assert place.on_topic(FEEDBACK) == place.accepted
        assert place.post(50).status_code == 202, "there is room again"


def test_a_locked_database_is_waited_for_and_nothing_is_skipped(tmp_path: Path, bus: Bus) -> None:
    scene = Scene(bus, tmp_path)
    with scene.running("recorder"), bus.publisher() as publisher:
        await_recorded(scene)
        with contextlib.closing(sqlite3.connect(tmp_path / "learnback.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            end = time.monotonic() + seconds(in_ci=8)
            sent = 0
            while time.monotonic() < end:
                publisher.publish(*(said(f"p{sent + number}", "up") for number in range(10)))
                sent += 10
                time.sleep(0.2)
            assert rows(scene, FeedbackRow) == []
            other.execute("ROLLBACK")
        await_recorded(scene)
    assert len(rows(scene, FeedbackRow)) == sent
    assert rows(scene, DeadLetter) == []
