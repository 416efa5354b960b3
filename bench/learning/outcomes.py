"""What a way to learn came to.

Backward transfer is BWT of GEM (Lopez-Paz and Ranzato 2017, arXiv:1706.08840): the mean over groups j of
R[T,j] − R[j,j], where R[i,j] is the accuracy after increment i on the test rows of the labels that increment j brought.
Two readings of it, since labels that come later take answers from the earlier ones, and do so in a model too that was
trained on everything at once:

- «among all labels»: at both times the answer is any label known then. The stricter one, and the usual one; what
  training anew shows of it is the task that became harder, and no forgetting.
- «among those known then»: at both times the answer is the best of the labels known when the group came. The question
  stays the same, as in GEM, whose tasks keep their own labels; what falls was forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean

OURS, NAIVE, JOINT = "increments", "without replay", "everything again"
ALL, KNOWN = "among all labels", "among those known then"


@dataclass(frozen=True)
class Transfer:
    """Per group but the last: accuracy at the end less that right after it came, in points."""

    changes: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Backward transfer."""
        return mean(self.changes)

    @property
    def worst(self) -> float:
        """The group that lost most."""
        return min(self.changes)


@dataclass(frozen=True)
class Learned:
    """What a way came to: CPU seconds of each increment, accuracy at the end in %, and what later groups did to others.

    `transfers` has both readings, or none where no labels come later.
    """

    way: str
    cpu_s: tuple[float, ...]
    accuracy: float
    transfers: dict[str, Transfer]
    bf16: bool

    def __str__(self) -> str:
        """For who waits."""
        return f"{self.accuracy:.1f} % after {sum(self.cpu_s):.0f} s of CPU"


@dataclass(frozen=True)
class Retrained:
    """What a training on everything cost and brought; `passes` counts each row as often as it was learned from."""

    cpu_s: float
    accuracy: float
    passes: int

    @property
    def per_s(self) -> float:
        """Rows per CPU second."""
        return self.passes / self.cpu_s

    def __str__(self) -> str:
        """For who waits."""
        return f"{self.accuracy:.1f} % after {self.cpu_s:.0f} s of CPU"
