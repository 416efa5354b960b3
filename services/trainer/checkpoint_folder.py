"""The folder in which the training at hand keeps how far it is: one file at most, and none that knows an erased user.

Of it a training that was killed, or stopped with its trainer, goes on. A file's name says what is trained (snapshot,
events, seed) and how many erasures there had been: after the next erasure it is another training's. It goes with the
end of its training, with the beginning of another, and, where neither comes, as soon as an idle trainer hears of an
erasure. It holds weights, and no text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.trainer.origins import Origins
from services.trainer.reports import SEED
from services.trainer.snapshot import Snapshot
from shared.text import short_hash


@dataclass(frozen=True)
class CheckpointFolder:
    """Where checkpoints are, and after how many seconds of training the next one is due."""

    folder: Path
    every_s: float

    def place(self, snapshot: Snapshot, origins: Origins, erasures: int) -> Path:
        """The file of a training, whether or not it is there; all others are removed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{erasures}-{short_hash(snapshot.digest, origins.sha256, str(SEED))}.pt"
        self._remove([other for other in self.folder.iterdir() if other != path])
        return path

    def clear(self) -> None:
        """The training is over."""
        self._remove([*self.folder.glob("*")])

    def expire(self, erasures: Callable[[], int]) -> None:
        """Remove what was begun before the newest erasure; asks how many there were where something lies here."""
        if (left := [*self.folder.glob("*")]) and (now := erasures()) >= 0:
            self._remove([path for path in left if not path.name.startswith(f"{now}-")])

    def _remove(self, paths: list[Path]) -> None:
        for path in paths:
            path.unlink(missing_ok=True)
