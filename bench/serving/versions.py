"""Versions to serve: a small adapter drawn at random and a head on it, stored as the trainer stores them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch.nn import functional

from schemas.events import ModelStateChanged
from shared.artifacts import ArtifactStore
from shared.ids import new_id
from shared.lm.classification import LAYERS
from shared.lm.encoder import Encoder
from shared.lm.head import SCALE, Head
from shared.policy import Training
from shared.text import short_hash

BASE, MODEL = "all-MiniLM-L6-v2", "served"
LABELS = tuple(f"label {number}" for number in range(150))  # as many as CLINC150 has


@dataclass(frozen=True)
class Made:
    """A version in a store."""

    version: str
    digest: str

    def state(self, alias: str = "champion", share: float = 0.0) -> ModelStateChanged:
        """The news that it serves under an alias."""
        return ModelStateChanged(
            event_id=new_id(),
            occurred_at=datetime.now(UTC),
            source="bench",
            model=MODEL,
            alias="canary" if alias == "canary" else "champion",
            task="classification",
            base=BASE,
            version=self.version,
            manifest_sha256=self.digest,
            decision=new_id(),
            share=share,
            reason="the bench decided",
        )


def make(store: ArtifactStore, count: int) -> list[Made]:
    """So many versions that differ, of the trainer's default rank and layers."""
    encoder = Encoder(BASE)
    encoder.create("made", Training().rank, LAYERS)
    return [_stored(store, encoder, number) for number in range(count)]


def write(encoder: Encoder, seed: int, folder: Path) -> None:
    """The files of one version."""
    chance = torch.Generator().manual_seed(seed)
    drawn = {name: torch.randn(one.shape, generator=chance) / 50 for name, one in encoder.weights("made").items()}
    encoder.save("made", drawn, folder)
    rows = functional.normalize(torch.randn(len(LABELS), encoder.width, generator=chance), dim=-1) * SCALE
    Head(LABELS, rows, torch.zeros(len(LABELS))).save(folder)


def _stored(store: ArtifactStore, encoder: Encoder, seed: int) -> Made:
    version = short_hash(f"bench version {seed}")
    with tempfile.TemporaryDirectory() as name:
        write(encoder, seed, Path(name))
        return Made(version, store.put(f"versions/{version}", Path(name), {"version": version}))
