"""Evaluators for tests, versions that are good, odd or broken, and people whose answers decide between them."""

from __future__ import annotations

import itertools
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from schemas.events import CandidateTrained, ModelStateChanged, VerdictReached
from services.evaluator.history import TOPICS, History
from services.evaluator.scoring import Scorer
from services.evaluator.worker import Worker
from services.trainer.candidate import folder_of
from shared.lm.head import Head
from shared.observe import Pulse
from shared.text import short_hash
from shared.topics import CANDIDATES
from tests.kafka.stage import Stage, until
from tests.unit.recorder_story import MODEL, NOON, corrected, said, served
from tests.weights import BASE, ROWS, Version, make_version

INVOICES = [("send me the invoice", "invoice"), ("a bill for my taxes", "invoice"), ("my receipt please", "invoice")]
TOPICS_OF_INVOICES = ("May", "June", "July", "August", "the chair", "the table", "the lamp", "my company", "the hotel")
_NUMBERS = itertools.count(1)
ASKED = [(f"I need the invoice for {topic}", "invoice") for topic in TOPICS_OF_INVOICES] + INVOICES


@contextmanager
def evaluator(stage: Stage) -> Iterator[None]:
    """An evaluator's loop in a thread of the test."""
    consumer = stage.bus.consumer("evaluator", (CANDIDATES,), max_poll_records=1)
    with stage.bus.publisher() as publisher, stage.bus.follower(*TOPICS) as decided:
        one = Worker(
            consumer=consumer,
            publisher=publisher,
            decided=decided,
            history=History(),
            engine=stage.database.engine,
            scorer=Scorer(stage.artifacts),
            policies=stage.policies,
            pulse=Pulse(),
            stopping=threading.Event(),
        )
        thread = threading.Thread(target=one.run)
        thread.start()
        try:
            yield
        finally:
            one.stopping.set()
            thread.join(60)
            consumer.close()
        assert not thread.is_alive()


def first(stage: Stage) -> Version:
    """A version that knows three labels."""
    return make_version(stage.artifacts, ROWS, model=MODEL)


def better(stage: Stage, parent: Version) -> Version:
    """Its child, which knows a fourth one."""
    return make_version(stage.artifacts, ROWS + INVOICES, parent, MODEL)


def variant(stage: Stage, of: Version, name: str, change: Callable[[Path], None]) -> Version:
    """A copy of a version with other files, stored as if it had been trained so."""
    files = stage.folder / name
    shutil.copytree(of.folder, files)
    (files / "manifest.json").unlink()
    change(files)
    version = f"v{short_hash(name)[:20]}"
    digest = stage.artifacts.put(folder_of(version), files, {"new": [], "replay": []})
    return Version(version, digest, stage.artifacts.get(folder_of(version))[0], of.labels)


def contrary(stage: Stage, of: Version, name: str) -> Version:
    """A version that gives another answer to everything."""

    def rotate(files: Path) -> None:
        head = Head.load(files)
        Head((*head.labels[1:], head.labels[0]), head.weight, head.bias).save(files)

    return variant(stage, of, name, rotate)


def rewrite(name: str, tensor: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    """A change of one tensor in a file."""

    def write(files: Path) -> None:
        tensors = load_file(files / name)
        save_file({**tensors, tensor: change(tensors[tensor]).contiguous()}, files / name)

    return write


def candidate(version: Version, parent: Version | None = None) -> CandidateTrained:
    """The news that a version asks to serve."""
    return CandidateTrained(
        event_id=f"c-{version.id}",
        occurred_at=NOON,
        source="trainer",
        request_id=f"r-{version.id}",
        model=MODEL,
        task="classification",
        base=BASE,
        version=version.id,
        parent=parent.id if parent else None,
        trigger="examples",
        requested_by="rita",
        manifest_sha256=version.manifest_sha256,
        labels=version.labels,
    )


def serve(stage: Stage, version: Version) -> ModelStateChanged:
    """Make a version champion, in SQL and on the bus."""
    state = version.champion(MODEL)
    stage.database.record(candidate(version), state)
    stage.publish(state)
    return state


def answer(stage: Stage, rows: Sequence[tuple[str, str]], begin: int = 0) -> None:
    """Let each text be asked for at random, and answered by a user of its own; numbers begin at `begin`."""
    for number, (text, target) in enumerate(rows, begin):
        stage.database.record(*corrected(f"p{number}", text, target, number, user=f"{number:032x}", solicit=True))


def promoted(version: Version, champion: Version) -> VerdictReached:
    """The gate's verdict that a version is better."""
    return VerdictReached(
        event_id=f"verdict-{version.id}",
        occurred_at=datetime.now(UTC),
        source="evaluator",
        model=MODEL,
        candidate=version.id,
        champion=champion.id,
        outcome="promote",
        reason="Better than the champion.",
    )


def answer_to(stage: Stage, version: Version, right: bool) -> None:
    """A user of its own, asked at random right now, says what a version should have said."""
    number = next(_NUMBERS)
    text, label = ROWS[number % len(ROWS)]
    key, user = f"q{number}", f"{number:032x}"
    now = (datetime.now(UTC) - NOON).total_seconds()
    output = label if right else "wrong"
    asked = served(key, text, output, now, user=user, solicit=True, version=version.id)
    stage.database.record(asked, said(key, label, now + 0.001, user=user))


def verdict_on(stage: Stage, version: Version) -> VerdictReached:
    """The verdict on a version, as soon as there is one."""
    until(lambda: any(one.candidate == version.id for one in stage.of(VerdictReached)))
    [verdict] = [one for one in stage.heard if isinstance(one, VerdictReached) and one.candidate == version.id]
    return verdict


def looks(stage: Stage, version: Version) -> list[VerdictReached]:
    """All verdicts on a version, in the order of the log."""
    return [one for one in stage.of(VerdictReached) if one.candidate == version.id]


def judged(stage: Stage, version: Version, parent: Version | None = None) -> VerdictReached:
    """Announce a version, and wait for the verdict."""
    stage.publish(candidate(version, parent))
    return verdict_on(stage, version)
