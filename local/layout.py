"""Where one machine's Learnback keeps its things and listens: the run folder, the ports, and the variables for both."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.identity import Keyring, create_secret, read_secret

HOST = "127.0.0.1"
SERVICES = ("collector", "recorder", "aggregator", "trainer", "evaluator", "predictor", "board")
COMPUTING = ("trainer", "evaluator", "predictor")


class Ports(BaseSettings):
    """Where each process listens on loopback; Kafka also takes the port after its own, for its controller."""

    model_config = SettingsConfigDict(env_prefix="LEARNBACK_", frozen=True)

    kafka_port: int = Field(default=8790, ge=1, le=65534)
    collector_port: int = Field(default=8710, ge=1, le=65535)
    recorder_port: int = Field(default=8711, ge=1, le=65535)
    aggregator_port: int = Field(default=8712, ge=1, le=65535)
    trainer_port: int = Field(default=8713, ge=1, le=65535)
    evaluator_port: int = Field(default=8714, ge=1, le=65535)
    predictor_port: int = Field(default=8720, ge=1, le=65535)
    board_port: int = Field(default=8730, ge=1, le=65535)

    def of(self, program: str) -> int:
        """The port of a program."""
        port: int = getattr(self, f"{program}_port")
        return port

    def url(self, service: str) -> str:
        """The address of a service with HTTP."""
        return f"http://{HOST}:{self.of(service)}"

    @property
    def kafka(self) -> str:
        """The broker's address, as clients write it."""
        return f"{HOST}:{self.kafka_port}"


@dataclass(frozen=True)
class RunFolder:
    """One folder with everything that an installation on one machine keeps."""

    root: Path

    @property
    def kafka(self) -> Path:
        """The broker's log and configuration."""
        return self.root / "kafka"

    @property
    def logs(self) -> Path:
        """A log file for each program."""
        return self.root / "logs"

    @property
    def spool_file(self) -> Path:
        """Where the collector keeps events while Kafka is away."""
        return self.root / "spool.db"

    @property
    def artifacts(self) -> Path:
        """The artifact store."""
        return self.root / "artifacts"

    @property
    def database_url(self) -> str:
        """The SQLite database, which the recorder makes."""
        return f"sqlite:///{self.root / 'learnback.db'}"

    @property
    def secret_file(self) -> Path:
        """The key of all HMACs."""
        return self.root / "secret"

    @property
    def keys_file(self) -> Path:
        """The API keys, hashed."""
        return self.root / "keys.json"

    @property
    def board_key_file(self) -> Path:
        """The board's own API key (scope review), readable by the owner alone; the command line uses it too."""
        return self.root / "board.key"

    def prepare(self) -> None:
        """Make the folder, its secret and the board's key, unless they are there."""
        for folder in (self.root, self.logs, self.artifacts):
            folder.mkdir(parents=True, exist_ok=True)
        create_secret(self.secret_file)
        if not self.board_key_file.exists():
            key = Keyring(self.keys_file, read_secret(self.secret_file)).create("board", frozenset({"review"}))
            handle = os.open(self.board_key_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(key)


def run_folder(root: Path) -> RunFolder:
    """The run folder at a path, made absolute: every program finds it, wherever it runs."""
    return RunFolder(root.absolute())


def threads() -> int:
    """Cores for each process that computes, so that two of them at once do not outnumber the cores.

    Threads of one matrix product wait for the slowest of them; when it has lost its core to another process, all spin.
    Two trainings with two threads each on two cores: 82 examples/s or, as often, 8; with one thread each, 207.
    """
    return max(1, (os.cpu_count() or 1) // 2)


def environment(run: RunFolder, ports: Ports) -> dict[str, str]:
    """What every program needs to find the others, over what the shell already says."""
    own = {
        "LEARNBACK_KAFKA_BOOTSTRAP_SERVERS": ports.kafka,
        "LEARNBACK_INSTANCE": "local",  # a service that was killed has its partitions back at once
        "LEARNBACK_DATABASE_URL": run.database_url,
        "LEARNBACK_ARTIFACTS_URL": f"file://{run.artifacts}",
        "LEARNBACK_SECRET_FILE": str(run.secret_file),
        "LEARNBACK_KEYS_FILE": str(run.keys_file),
        "LEARNBACK_COLLECTOR_SPOOL_FILE": str(run.spool_file),
        "LEARNBACK_AGGREGATOR_DATA_DIR": str(run.root / "aggregator"),
        "LEARNBACK_TRAINER_WORK_DIR": str(run.root / "trainer"),
        "LEARNBACK_BOARD_KEY_FILE": str(run.board_key_file),
        "LEARNBACK_BOARD_COLLECTOR_URL": ports.url("collector"),
        "LEARNBACK_BOARD_RECORDER_URL": ports.url("recorder"),
        "LEARNBACK_BOARD_PREDICTOR_URL": ports.url("predictor"),
        "PYTHONUNBUFFERED": "1",  # a line is in the log file when it is written
    }
    for service in COMPUTING:
        own[f"LEARNBACK_{service.upper()}_THREADS"] = str(threads())
    for service in SERVICES:
        own[f"LEARNBACK_{service.upper()}_HOST"] = HOST
        own[f"LEARNBACK_{service.upper()}_PORT"] = str(ports.of(service))
    return own
