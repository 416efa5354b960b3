"""Whether a champion's quality drifts: a change detector on the errors among solicited judgements.

Solicited ones only, since volunteered feedback tells how willing users are, not how good the model is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from river.drift import ADWIN

DETECTOR = "adwin"
DELTA = 0.002  # bound on ADWIN's false alarms (Bifet & Gavaldà 2007, and river's default)


@dataclass(frozen=True)
class Drift:
    """The rate of errors before and after a change for the worse."""

    before: float
    after: float


def _detector() -> ADWIN:
    from river.drift import ADWIN  # when first needed: it imports data sets and a database's client

    return ADWIN(delta=DELTA)  # type: ignore[no-untyped-call]  # river's own


@dataclass
class DriftWatch:
    """One model's detector. It lives in memory: after a restart it learns the rate anew, in some hundred answers."""

    _adwin: ADWIN = field(default_factory=_detector)

    def update(self, wrong: bool) -> Drift | None:
        """Take one judgement; a drift when the rate has risen. A change for the better is no alarm."""
        before = float(self._adwin.estimation)
        self._adwin.update(int(wrong))  # type: ignore[no-untyped-call]  # river's own
        after = float(self._adwin.estimation)
        return Drift(before, after) if self._adwin.drift_detected and after > before else None
