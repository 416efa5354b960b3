"""How many more labels would decide on a candidate, as a number for the queue and in words for a person."""

from __future__ import annotations

from dataclasses import dataclass

from services.evaluator.sizes import rows_to_decide
from services.evaluator.statistics import Paired

WORTHWHILE = 0.02  # a gain below two points, the anchor's margin, is not worth asking users for
USUAL, SETTLED = 0.06, 200  # discordance beyond the gain that increments showed; used until so many rows tell their own


@dataclass(frozen=True)
class Wanted:
    """How many more labels would decide, None when more would hardly help; and in words on what supposition."""

    rows: int | None
    said: str


def wanting(evidence: Paired, alpha: float, power: float, have: int | None = None) -> Wanted:
    """How many more rows would decide at this power, if the gain is as it looks so far; `have` of them are there.

    While none is seen, or less than WORTHWHILE, it is what a worthwhile gain takes: labels are not asked for without
    end on the chance that something tiny is there.
    """
    gains, losses = evidence.masses()
    rows = max(1, evidence.n)
    seen = (gains - losses) / rows
    gain = max(seen, WORTHWHILE)
    discordance = max((gains + losses) / rows, gain + (USUAL if evidence.n < SETTLED else 0.0))
    missing = rows_to_decide(gain, discordance, alpha, power) - (evidence.n if have is None else have)
    what = f"a gain of {100 * gain:.1f} points{' as seen so far' if seen >= WORTHWHILE else ''}"
    if missing > 0:
        return Wanted(missing, f"About {missing:,} more would show {what} at {power:.0%} power.")
    if seen >= WORTHWHILE:
        return Wanted(1, "It hangs on the next few answers.")
    return Wanted(None, f"More will hardly help: {what} would have shown by now at {power:.0%} power.")
