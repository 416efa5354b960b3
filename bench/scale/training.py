"""Trainers: two of them, each request worked by one; and how soon the other takes over when that one is killed.

Whoever works on a version has a folder for it among the unfinished ones of its own.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench.flow import Flow
from bench.report import Figure, Tell, at_most
from bench.scale.replicas import Replica, Replicas, replicas
from bench.serving.versions import BASE
from bench.stage import broker, free_port
from local.demo.story import HELP_DESK, read_story
from schemas.events import CandidateTrained, Dataset, ModelCard, TrainingProgressed, TrainingRequested
from shared.artifacts import ArtifactStore
from shared.datasets import store_dataset
from shared.envelope import unseal
from shared.errors import FatalError
from shared.ids import new_id
from shared.kafka import Bus, Follower, Publisher
from shared.topics import CANDIDATES, TRAINING_PROGRESS

SERVICE = "trainer"
PATIENCE_S = 120
LOOK_MS = 50
POLICY = "[defaults.training]\nseed_epochs = 4\n"  # long enough to be killed in


def figures(folder: Path, quick: bool, tell: Tell) -> list[Figure]:
    """Who works on what, and how soon another takes over."""
    requests, kills = (3, 1) if quick else (12, 3)
    with broker(folder / "kafka", free_port(2)) as (bus, _), two(bus, folder) as (group, heard):
        begun = shared(heard, requests, tell)
        waits = [taken_over(group, heard, tell) for _ in range(kills)]
    announced = Counter(heard.announced)
    return [
        Figure("requests to two trainers", requests, "requests"),
        Figure("… not begun by exactly one", sum(count != 1 for count in begun), "requests", at_most(0)),
        Figure("the one that trains is killed: the other begins", max(waits), "s", None, (min(waits), max(waits))),
        Figure(
            "… requests with no version, or announced twice",
            sum(announced[request] != 1 for request in heard.requests),
            "requests",
            at_most(0),
        ),
    ]


def shared(heard: Heard, requests: int, tell: Tell) -> list[int]:
    """Ask for so many new models at once; how often each was begun."""
    asked = [heard.ask() for _ in range(requests)]
    heard.until(lambda: all(heard.states(one)["finished"] for one in asked))
    tell(f"{requests} requests to two trainers are done")
    return [heard.states(one)["started"] for one in asked]


def taken_over(group: Replicas, heard: Heard, tell: Tell) -> float:
    """Kill who trains; the seconds until the other begins. Then there are two again."""
    request = heard.ask()
    heard.until(lambda: heard.states(request)["running"] and _at_work(group))
    [victim] = _at_work(group)
    begin = time.monotonic()
    group.leave(victim, signal.SIGKILL)
    heard.until(lambda: heard.states(request)["started"] > 1)
    seconds = time.monotonic() - begin
    heard.until(lambda: heard.states(request)["finished"])
    tell(f"the other began after {seconds:.1f} s")
    group.join().await_ready()
    return seconds


def _at_work(group: Replicas) -> list[Replica]:
    return [one for one in group.running if list((one.folder / "work/unfinished").glob("*"))]


@dataclass
class Heard:
    """What trainers said of what they were asked."""

    publisher: Publisher
    follower: Follower
    dataset: Dataset
    requests: list[str] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)
    announced: list[str] = field(default_factory=list)

    def ask(self) -> str:
        """Ask for a new model; the request's id."""
        request = TrainingRequested(
            event_id=new_id(),
            occurred_at=datetime.now(UTC),
            source="bench",
            request_id=new_id(),
            model=f"model-{len(self.requests)}",
            trigger="added",
            requested_by="bench",
            card=ModelCard(task="classification", base=BASE, examples=self.dataset),
        )
        self.publisher.publish(request)
        self.requests.append(request.request_id)
        return request.request_id

    def states(self, request: str) -> Counter[str]:
        """How often each state of a request was told so far."""
        for record in self.follower.poll(LOOK_MS):
            topic = TRAINING_PROGRESS if record.topic.endswith(TRAINING_PROGRESS.name) else CANDIDATES
            event = unseal(record.value, record.headers, topic)
            if isinstance(event, TrainingProgressed):
                self.told.append((event.request_id, event.state))
            elif isinstance(event, CandidateTrained):
                self.announced.append(event.request_id)
        return Counter(state for one, state in self.told if one == request)

    def until(self, holds: Callable[[], object]) -> None:
        """Wait for what trainers say.

        Raises:
            FatalError: they do not in time.
        """
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            if time.monotonic() > deadline:
                raise FatalError(f"The trainers did not come so far within {PATIENCE_S} s.")


@contextmanager
def two(bus: Bus, folder: Path) -> Iterator[tuple[Replicas, Heard]]:
    """Two trainers that are ready, a recorder, and someone who asks for models and listens."""
    folder.mkdir(parents=True, exist_ok=True)
    flow = Flow(bus, f"sqlite:///{folder}/learnback.db", folder)
    (folder / "learnback.toml").write_text(POLICY, "utf-8")
    dataset = store_dataset(ArtifactStore(f"file://{folder}/artifacts"), read_story(HELP_DESK, 200, 1).seeds)
    with flow.recorder(), replicas(SERVICE, folder, flow.variables, 2) as group:
        for one in group.running:
            one.await_ready()
        with bus.publisher() as publisher, bus.follower(TRAINING_PROGRESS, CANDIDATES) as follower:
            yield group, Heard(publisher, follower, dataset)
