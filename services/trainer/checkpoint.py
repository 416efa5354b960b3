"""How far a training is, on the disk now and then, so that after a kill it goes on from there to the same weights.

Written is all that the next step depends on: weights, optimiser, schedule, order of the rows, the best epoch so far.
What comes before the first step (tokens, what the champion says of rows) is computed anew. The file is SHA-256 of the
rest, and then what torch saves; it replaces the one before it in one step.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
import torch

from services.trainer.costs import Costs
from shared.lm.adapters import Weights
from shared.manifest import sync

log = structlog.get_logger()


@dataclass(frozen=True)
class Stage:
    """Where a training is, after a step: in which epoch, and after how many batches of it.

    `order` and `chance` are the states of what shuffled this epoch and of torch's random numbers; `rows` and `seconds`
    are what was passed and taken so far.
    """

    epoch: int
    batch: int
    weights: Weights
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    order: tuple[Any, ...]
    chance: torch.Tensor
    best: Weights
    best_loss: float
    curve: list[float]
    rows: int
    seconds: float


@dataclass
class Checkpoint:
    """The file of one training. `mark` names what computes, base and libraries: what others wrote is not taken."""

    path: Path
    every_s: float
    mark: str
    spent: Callable[[], Costs]
    before: Costs = field(default_factory=Costs.none)
    _kept: float = field(default_factory=time.monotonic)

    def keep(self, stage: Callable[[], Stage]) -> None:
        """Write where the training is, when it is time; where it cannot, that is said, and training goes on."""
        if time.monotonic() - self._kept < self.every_s:
            return
        held = io.BytesIO()
        torch.save({"mark": self.mark, "spent": vars(self.spent()), "stage": vars(stage())}, held)
        try:
            self._write(held)
        except OSError as error:
            log.warning("checkpoint_not_written", file=self.path.name, reason=error.strerror)
        self._kept = time.monotonic()

    def _write(self, held: io.BytesIO) -> None:
        staged = self.path.with_suffix(".tmp")
        with staged.open("wb") as file:
            file.write(hashlib.sha256(held.getbuffer()).digest())
            file.write(held.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        staged.replace(self.path)
        sync(self.path.parent)

    def found(self) -> Stage | None:
        """Where an earlier process left the training; None, said in the log, when what it left cannot be used."""
        if not self.path.exists():
            return None
        try:
            stage, self.before = self._read()
        except Exception as error:  # pickle and torch raise what they like at bytes that are not theirs
            log.warning(
                "checkpoint_ignored", file=self.path.name, reason=f"{type(error).__name__}: train from the start"
            )
            return None
        log.info("training_resumed", file=self.path.name, steps=len(stage.curve))
        return stage

    def _read(self) -> tuple[Stage, Costs]:
        digest, rest = (whole := self.path.read_bytes())[:32], whole[32:]
        if hashlib.sha256(rest).digest() != digest:
            raise ValueError("torn")
        held = torch.load(io.BytesIO(rest), map_location="cpu", weights_only=True)
        if held["mark"] != self.mark:
            raise ValueError("of another base or other libraries")
        return Stage(**held["stage"]), Costs(**held["spent"])
