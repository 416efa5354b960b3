"""What a task is: how the versions on one base answer, and how the next one learns.

A task is one file beside this one, and a line in `shared.lm.loading.TASKS`. Services know these protocols only: the
trainer's epochs, batches, early stop and λ, the evaluator's tests and the predictor's swaps are the same for all tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from schemas.events import LabelScore
from shared.errors import ArtifactError
from shared.policy import Training

if TYPE_CHECKING:  # torch takes seconds to import, and services import it in their own time (shared.lm.loading)
    from torch import Tensor

    from shared.lm.adapters import Weights
    from shared.lm.decoding import Decoding, Speech

CANDIDATE = "candidate"  # the adapter in the making


@dataclass(frozen=True)
class Answer:
    """What a version says to one input; classification tells its belief in the first labels, highest first."""

    output: str
    scores: tuple[LabelScore, ...] = ()


@dataclass(frozen=True)
class Asked:
    """One input for one version; how many labels to tell, where there are labels, or when a text ends."""

    version: str
    input: str
    top_k: int = 1
    max_tokens: int | None = None
    stops: tuple[str, ...] = ()


@dataclass(frozen=True)
class Example:
    """One input and its right output, as it is learned from."""

    input: str
    target: str
    weight: float = 1.0
    rejected: str | None = None  # the output that was corrected, where there was one
    replayed: bool = False  # the champion has learned it before
    head_only: bool = False  # no pass is made over it: a classifier's head is fitted to it in the end
    voice: int | None = None  # the user who gave it, by a number of this increment's; None is nobody by name


@dataclass(frozen=True)
class Preferred:
    """Two outputs for one input, of which users prefer the first; whether it is right nobody said."""

    input: str
    chosen: str
    rejected: str
    weight: float = 1.0


@dataclass(frozen=True)
class Judged:
    """An output for one input that users like, or do not."""

    input: str
    output: str
    liked: bool
    weight: float = 1.0


Opinion = Preferred | Judged


class Learning(Protocol):
    """The next version in the making: parameters, and what the trainer asks of them.

    Rows are indices: of the examples, and after them of opinions, if the task learns from those.
    """

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels it will know; none where outputs are free text."""

    @property
    def lengths(self) -> Sequence[int]:
        """How long each row is, so many there are: batches hold rows of like length."""

    def training(self) -> AbstractContextManager[list[dict[str, Any]]]:
        """Within the block the parameters take gradients; yields the optimiser's groups."""

    def loss(self, rows: Sequence[int]) -> Tensor:
        """What is minimised over one batch: the rows' weighted losses, divided by how many there are."""

    def evaluate(self, rows: Sequence[int]) -> tuple[float, float]:
        """Of examples: weighted loss, and weighted share that is right."""

    def settle(self) -> None:
        """After an increment's passes: fit at once, to all examples, what needs no pass."""

    def state(self) -> Weights:
        """A copy of all that learns."""

    def set_state(self, state: Weights) -> None:
        """Put such a copy back, or what lies between two of them."""

    def save(self, folder: Path) -> None:
        """Write the version's files."""


class Task(Protocol):
    """One base and the versions on it. One thread computes; another one may load meanwhile."""

    @property
    def device(self) -> str:
        """What it computes on, and in which numbers."""

    @property
    def versions(self) -> frozenset[str]:
        """The versions that can answer."""

    def load(self, version: str, folder: Path) -> None:
        """Make a version ready to answer, warmed up by a probe, while others answer; again, it does nothing.

        Raises:
            ArtifactError: its files cannot be trusted; nothing has changed.
        """

    def drop(self, version: str) -> None:
        """Forget a version."""

    def answer(self, version: str, inputs: Sequence[str], top_k: int = 1) -> list[Answer]:
        """What a version says; `top_k` labels where there are labels.

        Raises:
            ArtifactError: the version's weights, finite as they are, overflow on an input.
        """

    def answer_each(self, asked: Sequence[Asked]) -> list[Answer | ArtifactError]:
        """What each version says to its input; they share forwards, and one that overflows fails alone."""

    def right(self, version: str, inputs: Sequence[str], targets: Sequence[str]) -> list[bool]:
        """Whether a version gives each target. Raises as `answer`."""

    def learning(
        self, parent: Path | None, examples: Sequence[Example], config: Training, opinions: Sequence[Opinion] = ()
    ) -> AbstractContextManager[Learning]:
        """The next version, from the champion's files or, for a model's first version, from the base.

        Opinions come with a champion alone. A task that does not learn from them has no rows for them.

        Raises:
            ArtifactError: the champion's files cannot be trusted.
        """


@runtime_checkable
class Talking(Protocol):
    """A task whose answers are texts, which can be told while they are made."""

    def decoding(self) -> Decoding:
        """Answers in the making, none yet, which are computed together, a token of each at a time."""

    def begin(self, asked: Sequence[Asked], decoding: Decoding) -> list[Speech]:
        """More of them, in the order asked; each keeps the version with which it began."""
