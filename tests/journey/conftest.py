"""All of Learnback on this machine, once for all journeys: real processes, real Kafka, real weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from sqlalchemy import Engine

from local.demo.place import on_this_machine
from local.demo.play import add_model
from local.demo.story import Story, read_story
from local.layout import Ports, RunFolder, run_folder
from local.supervise import running
from nemesis.installation import free_ports
from shared.identity import Keyring, read_secret
from shared.tables import open_database
from tests.real import questions

POLICY = """
[defaults.serving]
solicit_rate = 0.3
[defaults.trust]
user_cap = 1000
confident = 1.0
[defaults.trigger]
min_examples = 30
every_seconds = 10
every_min_examples = 15
bucket_seconds = 5
[defaults.training]
max_epochs = 3
min_replay = 90
[defaults.gate]
tries = 10
"""


@dataclass(frozen=True)
class Machine:
    """A running installation."""

    run: RunFolder
    ports: Ports
    engine: Engine

    def key(self, app: str) -> str:
        """A key for an app."""
        return Keyring(self.run.keys_file, read_secret(self.run.secret_file)).create(app)

    def add(self, model: str, story: Story, key: str) -> str:
        """Add a model by the command; returns its first version."""
        return add_model(on_this_machine(self.run, self.ports), model, story, key)


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A slice of CLINC150, or of the project's own set where that is not there: 7 labels, and 5 more halfway."""
    return read_story(questions(tmp_path_factory.mktemp("data") / "slice"), 1200, 0)


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Everything started, until the last journey is over."""
    run = run_folder(tmp_path_factory.mktemp("run"))
    (run.root / "learnback.toml").write_text(POLICY, "utf-8")
    ports = free_ports()
    with running(run, ports, {"LEARNBACK_POLICY_FILE": str(run.root / "learnback.toml")}) as stack:
        stack.wait_ready()
        engine = open_database(run.database_url)
        yield Machine(run, ports, engine)
        engine.dispose()
