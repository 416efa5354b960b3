"""What one increment learns from, frozen: ids, targets and weights, never texts; and the version id that follows.

A crash in mid-training finds the frozen snapshot again, so the same request makes the same version.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from schemas.events import Task
from shared.policy import Training


class Frozen(BaseModel):
    """A value that does not change and whose JSON is canonical."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def digest(self) -> str:
        """SHA-256 of the JSON, 64 hex digits."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class Lesson(Frozen):
    """One example to learn: its id, the right output, and how much it counts."""

    id: str
    target: str
    weight: float


class Snapshot(Frozen):
    """Everything that decides what an increment becomes, but for the texts, which the ids name."""

    request_id: str
    model: str
    task: Task
    base: str
    parent: str | None
    parent_manifest: str | None
    new: tuple[Lesson, ...]
    replay: tuple[Lesson, ...]
    config: Training

    @property
    def version(self) -> str:
        """The id of the version that this snapshot makes: a hash of parent, lessons and config."""
        parts = self.model_dump_json(exclude={"request_id"})
        return f"v{hashlib.sha256(parts.encode()).hexdigest()[:20]}"

    @property
    def ids(self) -> frozenset[str]:
        """Ids of all its examples."""
        return frozenset(lesson.id for lesson in (*self.new, *self.replay))


def freeze(snapshot: Snapshot, folder: Path) -> None:
    """Write a snapshot so that a crash finds all of it or nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    staged = folder / f".{snapshot.request_id}.tmp"
    with staged.open("w", encoding="utf-8") as file:
        file.write(snapshot.model_dump_json())
        file.flush()
        os.fsync(file.fileno())
    staged.rename(folder / f"{snapshot.request_id}.json")


def frozen(request_id: str, folder: Path) -> Snapshot | None:
    """The snapshot that a request froze before a crash, if it did."""
    path = folder / f"{request_id}.json"
    return Snapshot.model_validate_json(path.read_bytes()) if path.exists() else None
