"""Trainers for tests: in a thread of the test or as its users run them, and what they are asked and tell."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from schemas.events import CandidateTrained, Event, TrainingProgressed, TrainingRequested
from services.trainer.checkpoint_folder import CheckpointFolder
from services.trainer.child import context
from services.trainer.desk import Desk
from services.trainer.making import Maker
from services.trainer.place import Place
from services.trainer.worker import Worker
from shared.observe import Pulse
from shared.policy import Policy, PolicyFile, Training
from shared.states import read_states
from shared.topics import TRAINING_REQUESTS
from tests.kafka.stage import Stage, card, process, until
from tests.unit.recorder_story import crowned
from tests.weights import BASE, QUICK, ROWS

POLICIES = PolicyFile(defaults=Policy(training=QUICK))
ANCHORS = [("where did the courier leave it", "parcel")]


@contextmanager
def trainer(stage: Stage, **options: int) -> Iterator[Worker]:
    """A trainer's loop in a thread of the test."""
    consumer = stage.bus.consumer("trainer", (TRAINING_REQUESTS,), None, max_poll_records=1, **options)
    with stage.bus.publisher() as publisher:
        desk = Desk(stage.database.engine, stage.policies, lambda: read_states(stage.bus), snapshots(stage))
        kept = CheckpointFolder(stage.folder / "trainer/checkpoints", 60.0)
        place = Place(consumer, Pulse(), threading.Event())
        maker = Maker(desk, stage.artifacts, context(), kept, unfinished(stage), 1, "cpu", place)
        one = Worker(place, publisher, maker)
        thread = threading.Thread(target=one.run)
        thread.start()
        try:
            yield one
        finally:
            place.stopping.set()
            thread.join(30)
            consumer.close()
        assert not thread.is_alive()


@contextmanager
def trainer_process(stage: Stage, training: Training, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A trainer as its users run it."""
    rules = "\n".join(f"{name} = {value}" for name, value in training if name != "step_sizes")
    (stage.folder / "learnback.toml").write_text(f"[defaults.training]\n{rules}\n")
    with process(stage, "trainer", LEARNBACK_TRAINER_WORK_DIR=f"{stage.folder}/trainer", **environment) as running:
        yield running


def snapshots(stage: Stage) -> Path:
    """Where the trainer freezes what it learns from."""
    return stage.folder / "trainer/choices"


def unfinished(stage: Stage) -> Path:
    """Where the child leaves files until they are stored."""
    return stage.folder / "trainer/unfinished"


def checkpoints(stage: Stage) -> list[Path]:
    """What it would go on from."""
    return [*(stage.folder / "trainer/checkpoints").glob("*.pt")]


def warm_up() -> None:
    """Wait until the fork server has imported what training needs: on a busy machine longer than a short timeout."""
    idle = context().Process(target=int)
    idle.start()
    idle.join()


def caught() -> psutil.Process:
    """The child that trains, as soon as there is one: a fork of the fork server."""
    found: list[psutil.Process] = []

    def look() -> bool:
        servers = [one for one in psutil.Process().children() if "forkserver" in " ".join(one.cmdline())]
        found.extend(child for server in servers for child in server.children())
        return bool(found)

    until(look)
    return found[0]


@contextmanager
def suspended() -> Iterator[psutil.Process]:
    """The child, stopped in the middle, as long as the block lasts."""
    child = caught()
    child.suspend()
    try:
        yield child
    finally:
        with suppress(psutil.NoSuchProcess):
            child.resume()


def gone(process: psutil.Process) -> bool:
    """Whether it has ended."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def told(stage: Stage, request_id: str) -> list[str]:
    """What became of a request so far, without repeats of `running`."""
    states = [event.state for event in stage.of(TrainingProgressed) if event.request_id == request_id]
    return [state for number, state in enumerate(states) if state != "running" or states[number - 1] != "running"]


def reasons(stage: Stage, state: str) -> dict[str, str]:
    """Why requests ended in a state."""
    return {event.request_id: event.detail for event in stage.of(TrainingProgressed) if event.state == state}


def ask(stage: Stage, *requests: TrainingRequested) -> None:
    """Ask, and let the recorder know."""
    stage.database.record(*requests)
    stage.publish(*requests)


def first_version(stage: Stage) -> CandidateTrained:
    """Ask for a model on the rows that everyone uses, and wait for its v0."""
    request = card(stage, ROWS, ANCHORS)
    ask(stage, request)
    until(lambda: told(stage, request.request_id)[-1:] == ["finished"])
    [version] = stage.of(CandidateTrained)
    return version


def serve(stage: Stage, version: CandidateTrained, previous: str | None = None, when: float = 70) -> None:
    """Make a version champion, in SQL and on the bus."""
    files = {"base": BASE, "manifest_sha256": version.manifest_sha256}
    state: Event = crowned(version.version, previous, when).model_copy(update=files)
    stage.database.record(version, state)
    stage.publish(state)
