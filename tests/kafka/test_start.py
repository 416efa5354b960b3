"""What is wrong when a service starts: one sentence at /readyz and in the log, no end, and on when it is right."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from kafka import KafkaAdminClient
from sqlalchemy import create_engine, text

from shared.identity import create_secret
from shared.kafka import Bus
from shared.topics import FEEDBACK
from tests.conftest import free_port
from tests.kafka.old_broker import old_broker
from tests.s3 import BUCKET, s3

PATIENCE_S = 60


@dataclass
class Service:
    """A service as its users start it."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def ready(self) -> tuple[int, str]:
        try:
            answer = httpx.get(f"{self.url}/readyz", timeout=2)
        except httpx.HTTPError:
            return 0, ""
        return answer.status_code, answer.text

    def await_ready(self, status: int, words: str) -> str:
        """What its probe says, once it says these words with this status."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            assert self.process.poll() is None, f"it ended: {self.log.read_text()[-1000:]}"
            found, said = self.ready()
            if found == status and words in said:
                return said
            assert time.monotonic() < deadline, f"{found} {said}; {self.log.read_text()[-1000:]}"
            time.sleep(0.1)


@contextlib.contextmanager
def started(service: str, folder: Path, bus: Bus, **settings: str) -> Iterator[Service]:
    port, name = free_port(), service.upper()
    variables = {
        "LEARNBACK_KAFKA_BOOTSTRAP_SERVERS": bus.servers,
        "LEARNBACK_TOPIC_PREFIX": bus.prefix,
        "LEARNBACK_DATABASE_URL": f"sqlite:///{folder}/learnback.db",
        "LEARNBACK_ARTIFACTS_URL": f"file://{folder}/artifacts",
        "LEARNBACK_POLICY_FILE": f"{folder}/learnback.toml",
        "LEARNBACK_SECRET_FILE": f"{folder}/secret",
        "LEARNBACK_KEYS_FILE": f"{folder}/keys.json",
        "LEARNBACK_COLLECTOR_SPOOL_FILE": f"{folder}/spool.db",
        "LEARNBACK_TRAINER_WORK_DIR": f"{folder}/trainer",
        f"LEARNBACK_{name}_PORT": str(port),
    }
    log = folder / f"{service}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", f"services.{service}"], env={**os.environ, **variables, **settings}, stderr=file
        )
    try:
        yield Service(process, f"http://127.0.0.1:{port}", log)
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.parametrize("service", ["collector", "predictor"])
def test_a_missing_secret_is_asked_for_and_then_it_goes_on(service: str, tmp_path: Path, bus: Bus) -> None:
    with started(service, tmp_path, bus) as running:
        said = running.await_ready(503, "No secret at")
        assert said == f"No secret at {tmp_path}/secret. Make one with: learnback keys secret\n"
        assert httpx.get(f"{running.url}/livez").status_code == 200
        time.sleep(5)
        assert running.log.read_text().count("cannot_start") == 1, "it says so once, not at each look"
        create_secret(tmp_path / "secret")
        running.await_ready(200, "ready")


def test_a_wrong_policy_is_named_by_its_line(tmp_path: Path, bus: Bus) -> None:
    (tmp_path / "learnback.toml").write_text("[defaults.gate]\nmode = 'loose'\n")
    with started("recorder", tmp_path, bus) as running:
        assert "learnback.toml:2" in running.await_ready(503, "mode")
        (tmp_path / "learnback.toml").write_text("[defaults.gate]\nmode = 'fast'\n")
        running.await_ready(200, "ready")


def test_who_waits_ends_when_told_to(tmp_path: Path, bus: Bus) -> None:
    with started("collector", tmp_path, bus) as running:
        running.await_ready(503, "No secret")
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(10) == 0


def test_a_wrong_variable_ends_it_with_its_name(tmp_path: Path, bus: Bus) -> None:
    with started("recorder", tmp_path, bus, LEARNBACK_RECORDER_PORT="many") as running:
        assert running.process.wait(PATIENCE_S) == 1
        said = running.log.read_text()
    assert said.startswith("Settings are wrong: LEARNBACK_RECORDER_PORT: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("service", ["recorder", "trainer", "evaluator"])
def test_an_address_that_is_none_of_a_database_is_told(service: str, tmp_path: Path, bus: Bus) -> None:
    with started(service, tmp_path, bus, LEARNBACK_DATABASE_URL="postgres//secret-word@host") as running:
        running.await_ready(503, "The database's address is no SQLAlchemy URL")
        assert "secret-word" not in running.log.read_text()


def test_a_database_that_is_not_there_is_waited_for(tmp_path: Path, bus: Bus, postgres_url: str) -> None:
    name = f"later_{bus.prefix}"
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    url = admin.url.set(database=name, password="secret-word").render_as_string(hide_password=False)
    with started("recorder", tmp_path, bus, LEARNBACK_DATABASE_URL=url) as running:
        said = running.await_ready(503, "refuses")
        assert f'database "{name}" does not exist' in said
        assert "LEARNBACK_DATABASE_URL" in said
        assert "secret-word" not in said + running.log.read_text()
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        running.await_ready(200, "ready")
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


def test_a_role_that_may_not_make_tables_is_told(tmp_path: Path, bus: Bus, postgres_url: str) -> None:
    role = f"reader_{bus.prefix}"
    admin = create_engine(postgres_url)
    with admin.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
    url = admin.url.set(username=role).render_as_string()
    with started("recorder", tmp_path, bus, LEARNBACK_DATABASE_URL=url) as running:
        assert "permission denied for schema public" in running.await_ready(503, "refuses")
    with admin.begin() as connection:
        connection.execute(text(f"DROP ROLE {role}"))
    admin.dispose()


@pytest.mark.parametrize("service", ["aggregator", "trainer", "evaluator"])
def test_a_topic_with_another_number_of_partitions_is_told(service: str, tmp_path: Path, kafka_servers: str) -> None:
    bus = Bus(kafka_servers, f"p{free_port()}")
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
    admin.create_topics({bus.name(FEEDBACK): {"num_partitions": 3, "replication_factor": 1}})
    admin.close()
    with started(service, tmp_path, bus) as running:
        said = running.await_ready(503, "wrong number of partitions")
        assert f"{bus.name(FEEDBACK)} has 3 and needs 6" in said


def test_a_broker_of_before_2_3_is_told(tmp_path: Path) -> None:
    with old_broker(tmp_path) as servers, started("recorder", tmp_path, Bus(servers)) as running:
        assert running.await_ready(503, "older than 2.3").startswith(f"Kafka at {servers} is older than 2.3")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("WARNING: only root may mount a small disk; what a full one does at a start is NOT tested")
    (disk / "other").write_bytes(bytes(15 * 1024 * 1024))
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize(
    ("service", "variable", "path"),
    [
        ("recorder", "LEARNBACK_DATABASE_URL", "sqlite:///{disk}/learnback.db"),
        ("trainer", "LEARNBACK_TRAINER_WORK_DIR", "{disk}/trainer"),
    ],
)
def test_a_full_volume_is_told_and_room_is_enough(
    service: str, variable: str, path: str, tmp_path: Path, bus: Bus, full_disk: Path
) -> None:
    with started(service, tmp_path, bus, **{variable: path.format(disk=full_disk)}) as running:
        assert variable in running.await_ready(503, "MB left")
        (full_disk / "other").unlink()
        running.await_ready(200, "ready")


@pytest.mark.parametrize("service", ["trainer", "evaluator", "predictor"])
def test_an_artifact_store_that_is_away_is_waited_for(
    service: str, tmp_path: Path, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_secret(tmp_path / "secret")
    with s3(monkeypatch) as server:
        server.stop()
        with started(service, tmp_path, bus, LEARNBACK_ARTIFACTS_URL=f"s3://{BUCKET}/here") as running:
            said = running.await_ready(503, "The artifact store does not answer")
            assert "LEARNBACK_ARTIFACTS_URL" in said
            server.start()
            running.await_ready(200, "ready")


def test_a_bucket_that_is_not_there_is_told_by_who_writes(
    tmp_path: Path, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3(monkeypatch), started("trainer", tmp_path, bus, LEARNBACK_ARTIFACTS_URL="s3://none") as running:
        assert "do its keys and the bucket fit" in running.await_ready(503, "for a probe")
