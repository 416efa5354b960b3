"""Where the demo is played: an installation that supervisord keeps on this machine, or the containers of `make up`."""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from local.layout import HOST, Ports, RunFolder, environment
from shared.errors import FatalError
from shared.identity import Keyring, read_secret


@dataclass(frozen=True)
class Place:
    """How to reach an installation. `variables` are what its programs and the command line find the others by."""

    folder: Path  # for what is handed to the command line
    collector: str
    predictor: str
    database: str
    artifacts: str
    reviewer_key: str
    variables: dict[str, str]
    logs: str  # where a person finds them


class Composed(BaseSettings):
    """What docker-compose.yml takes of the environment, beside the ports of the services."""

    model_config = SettingsConfigDict(env_prefix="LEARNBACK_", frozen=True)

    compose: str = Field(default="docker-compose", validation_alias="COMPOSE", description="The command.")
    secrets: Path = Path("secrets")
    postgres_port: int = 8740
    s3_port: int = 8741


def on_this_machine(run: RunFolder, ports: Ports) -> Place:
    """The installation of a run folder."""
    return Place(
        folder=run.root,
        collector=ports.url("collector"),
        predictor=ports.url("predictor"),
        database=run.database_url,
        artifacts=f"file://{run.artifacts}",
        reviewer_key=run.board_key_file.read_text("utf-8").strip(),
        variables=environment(run, ports),
        logs=str(run.logs),
    )


def in_containers(folder: Path, ports: Ports, composed: Composed) -> Place:
    """The installation of docker-compose.yml, by the ports that it opens on loopback.

    Raises:
        FatalError: it does not run, or its secrets are not there.
    """
    try:
        password = (composed.secrets / "reader_password").read_text("utf-8").strip()
    except OSError as error:
        raise FatalError(f"{composed.secrets}: no secrets ({error.strerror}). Start the containers: make up") from None
    folder.mkdir(parents=True, exist_ok=True)
    database = f"postgresql+psycopg://learnback_reader:{password}@{HOST}:{composed.postgres_port}/learnback"
    return Place(
        folder=folder,
        collector=ports.url("collector"),
        predictor=ports.url("predictor"),
        database=database,
        artifacts="s3://learnback",
        reviewer_key=_in_cli(composed, "--entrypoint", "cat", "cli", "/run/keys/board.key"),
        variables={
            "LEARNBACK_KAFKA_BOOTSTRAP_SERVERS": ports.kafka,
            "LEARNBACK_DATABASE_URL": database,
            "LEARNBACK_ARTIFACTS_URL": "s3://learnback",
            "AWS_ENDPOINT_URL": f"http://{HOST}:{composed.s3_port}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_SHARED_CREDENTIALS_FILE": str((composed.secrets / "s3_credentials").absolute()),
        },
        logs=f"{composed.compose} logs",
    )


def key_on_this_machine(run: RunFolder, app: str) -> str:
    """A new key for an app of a run folder's installation."""
    return Keyring(run.keys_file, read_secret(run.secret_file)).create(app)


def key_in_containers(composed: Composed, app: str) -> str:
    """A new key for an app of the containers.

    Raises:
        FatalError: they do not run.
    """
    return _in_cli(composed, "cli", "keys", "create", app)


def _in_cli(composed: Composed, *arguments: str) -> str:
    """What a command in the container of the command line says."""
    command = [*shlex.split(composed.compose), "run", "--rm", "-T", "--no-deps", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise FatalError(f"{shlex.join(command[:2])} failed: {said[:300]} Do the containers run (make up)?")
    return done.stdout.strip().splitlines()[-1]
