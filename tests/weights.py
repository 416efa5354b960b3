"""Real tiny versions for tests: trained by the trainer's own child code on the packaged base, in a second or two.

Each distinct version is trained once per test session and copied into whichever store asks for it.
"""

from __future__ import annotations

import atexit
import functools
import multiprocessing
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from schemas.events import ModelStateChanged
from services.trainer import candidate
from services.trainer.child import Job, run
from services.trainer.origins import Origins
from services.trainer.reports import Outcome, Progress
from services.trainer.snapshot import Lesson, Snapshot
from shared.artifacts import ArtifactStore
from shared.policy import Training
from shared.text import short_hash

BASE = "all-MiniLM-L6-v2"
MODEL = "support-intent"
QUICK = Training(rank=4, layers=1, seed_epochs=3, max_epochs=3, batch_size=8, dev_share=0.0)
ROWS: list[tuple[str, str]] = [
    ("where is my parcel", "parcel"),
    ("the package has not arrived yet", "parcel"),
    ("track my delivery please", "parcel"),
    ("when will the courier come", "parcel"),
    ("I want my money back", "refund"),
    ("please refund this order", "refund"),
    ("how do I get reimbursed", "refund"),
    ("return the payment to my card", "refund"),
    ("I forgot my password", "login"),
    ("I cannot sign in to my account", "login"),
    ("reset my login please", "login"),
    ("the site rejects my user name", "login"),
]


@dataclass(frozen=True)
class Version:
    """A version in a store: its id, the SHA-256 of its manifest, the local folder of its files, its labels."""

    id: str
    manifest_sha256: str
    folder: Path
    labels: tuple[str, ...]

    def champion(self, model: str = MODEL) -> ModelStateChanged:
        """The news that it serves from now on."""
        return ModelStateChanged(
            event_id=short_hash("state", self.id, model),
            occurred_at=datetime.now(UTC),
            source="evaluator",
            model=model,
            alias="champion",
            task="classification",
            base=BASE,
            version=self.id,
            manifest_sha256=self.manifest_sha256,
            decision="d-1",
            reason="a test decided",
        )

    def canary(self, share: float, model: str = MODEL) -> ModelStateChanged:
        """The news that it is on trial for a share of the users."""
        news = {"alias": "canary", "share": share, "event_id": short_hash("canary", self.id, model, str(share))}
        return self.champion(model).model_copy(update=news)


def make_version(
    store: ArtifactStore,
    rows: list[tuple[str, str]],
    parent: Version | None = None,
    model: str = MODEL,
    config: Training = QUICK,
) -> Version:
    """Train a version on rows of (text, label), from its parent or from the base, and store it as the trainer does."""
    lessons = tuple(Lesson(id=short_hash("row", *row), target=row[1], weight=1.0) for row in rows)
    snapshot = Snapshot(
        request_id="r-1",
        model=model,
        task="classification",
        base=BASE,
        parent=parent.id if parent else None,
        parent_manifest=parent.manifest_sha256 if parent else None,
        new=lessons,
        replay=(),
        config=config,
    )
    texts = tuple(zip((lesson.id for lesson in lessons), (text for text, _ in rows), strict=True))
    outcome, files = _trained(snapshot, texts, parent.folder if parent else None)
    candidate.store(store, snapshot, Origins.of(snapshot.ids), outcome, files)
    digest = store.digest(candidate.folder_of(snapshot.version))
    assert digest is not None
    folder, _ = store.get(candidate.folder_of(snapshot.version), digest)
    return Version(snapshot.version, digest, folder, outcome.labels)


@functools.cache
def _trained(snapshot: Snapshot, texts: tuple[tuple[str, str], ...], parent: Path | None) -> tuple[Outcome, Path]:
    """What the trainer's child makes of a snapshot: its report and its files."""
    output = Path(tempfile.mkdtemp(prefix="learnback-version-"))
    atexit.register(shutil.rmtree, output, ignore_errors=True)
    ours, theirs = multiprocessing.Pipe(duplex=False)
    with ours, theirs:
        run(Job(snapshot, dict(texts), parent, output, threads=1), theirs)
        while isinstance(report := ours.recv(), Progress):
            pass
    assert isinstance(report, Outcome)
    return report, output
