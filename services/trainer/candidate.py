"""From a finished training to an announced candidate: manifest, artifact, event."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from schemas.events import CandidateTrained, TrainingRequested
from services.trainer.origins import Origins
from services.trainer.reports import SEED, Outcome
from services.trainer.snapshot import Snapshot
from services.trainer.start import REFRESH
from shared.artifacts import ArtifactStore
from shared.text import short_hash


def folder_of(version: str) -> str:
    """Where the artifact store keeps a version."""
    return f"versions/{version}"


def manifest(snapshot: Snapshot, origins: Origins, outcome: Outcome) -> dict[str, Any]:
    """Full lineage and figures of a version; the digests of its files are added when it is stored."""
    return {
        "version": snapshot.version,
        "model": snapshot.model,
        "task": snapshot.task,
        "base": snapshot.base,
        "base_digest": outcome.base_digest,
        "parent": snapshot.parent,
        "parent_manifest": snapshot.parent_manifest,
        "refresh": snapshot.refresh,
        "request_id": snapshot.request_id,
        "snapshot_sha256": snapshot.digest,
        "events": origins.events,
        "events_sha256": origins.sha256,
        "new": [lesson.id for lesson in snapshot.new],
        "replay": [lesson.id for lesson in snapshot.replay],
        "heard": list(snapshot.heard),
        "config": snapshot.config.model_dump(mode="json"),
        "labels": list(outcome.labels),
        "label_schema": short_hash(*outcome.labels) if outcome.labels else None,
        "regrouped": dict(snapshot.regrouped),
        "steps": outcome.steps,
        "resumed": outcome.resumed,
        "loss_curve": list(outcome.loss_curve),
        "examples_per_s": outcome.examples_per_s,
        "dev_score": outcome.dev_score,
        "step_size": outcome.step_size,
        "step_sizes": [asdict(one) for one in outcome.step_sizes],
        "phases": dict(outcome.phases),
        "costs": asdict(outcome.costs),
        "device": outcome.device,
        "seed": SEED,
        "libraries": dict(outcome.libraries),
        "python": sys.version.split()[0],
    }


def store(artifacts: ArtifactStore, snapshot: Snapshot, origins: Origins, outcome: Outcome, files: Path) -> None:
    """Put a version into the artifact store."""
    artifacts.put(folder_of(snapshot.version), files, manifest(snapshot, origins, outcome))


def announced(
    artifacts: ArtifactStore, snapshot: Snapshot, request: TrainingRequested, now: datetime
) -> CandidateTrained | None:
    """The event for a stored version, or None when it is not stored.

    Its id follows from the version, so that announcing it again after a crash repeats the same event.

    Raises:
        ArtifactError: it is stored, but its files are not what they were.
    """
    digest = artifacts.digest(folder_of(snapshot.version))
    if digest is None:
        return None
    _, stored = artifacts.get(folder_of(snapshot.version), digest)
    return CandidateTrained(
        event_id=short_hash("candidate", snapshot.version, request.request_id),
        occurred_at=now,
        source="trainer",
        request_id=request.request_id,
        model=snapshot.model,
        task=snapshot.task,
        base=snapshot.base,
        version=snapshot.version,
        parent=snapshot.parent,
        trigger=REFRESH if snapshot.refresh else request.trigger,
        requested_by=request.requested_by,
        manifest_sha256=digest,
        labels=tuple(stored["labels"]),
        lessons=(*stored["new"], *stored["heard"]),
        replayed=len(stored["replay"]),
        steps=stored["steps"],
        train_seconds=stored["phases"]["train_s"],
        examples_per_s=stored["examples_per_s"],
        loss_curve=tuple(stored["loss_curve"]),
        dev_score=stored["dev_score"],
        step_size=stored["step_size"],
    )
