"""What the training child reports to its parent: plain values, so that the parent need not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.trainer.costs import Costs

SEED = 0  # of every training: the same snapshot gives the same version


@dataclass(frozen=True)
class Progress:
    """Where training stands."""

    step: int
    steps: int
    loss: float
    examples_per_s: float
    seconds_left: float


@dataclass(frozen=True)
class Tried:
    """One λ of the grid: loss and score of the dev rows after moving so far."""

    step_size: float
    loss: float
    score: float


@dataclass(frozen=True)
class Outcome:
    """What training came to; the files are in the job's output folder. `resumed`: see `increment.Trained`."""

    labels: tuple[str, ...]
    steps: int
    resumed: int
    loss_curve: tuple[float, ...]
    examples_per_s: float
    dev_score: float | None
    step_size: float | None
    step_sizes: tuple[Tried, ...]
    phases: Mapping[str, float]
    costs: Costs
    device: str
    base_digest: str
    libraries: Mapping[str, str]


@dataclass(frozen=True)
class Failure:
    """Training came to nothing; `error` says how, as in «raised KeyError», never with the error's own text."""

    error: str


Report = Progress | Outcome | Failure
