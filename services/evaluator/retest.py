"""When a candidate that waits is looked at again, and when a promotion that was decided is still to be made.

A look costs a test of the reign only if it can reject. Looks come when the evidence has grown by half: the moment of a
test then depends on how much was said, never on who was right, which an exact test at a fixed level needs. The tests of
all looks count against the reign's budget, so the union bound over a reign holds as it does over single looks.
"""

from __future__ import annotations

from math import ceil, log2

from schemas.events import CandidateTrained, ModelStateChanged, VerdictReached
from services.evaluator.gate import is_spent, level, parentage
from shared.policy import Gate

GROWTH = 1.5  # 16 looks then span 9 rows to a window of 3,000, within the 20 tests of a reign


def waits(
    candidate: CandidateTrained, verdict: VerdictReached, champion: ModelStateChanged, tested: int, rules: Gate
) -> bool:
    """Whether more evidence could change the verdict: undecided, still the champion's child, and a test is left."""
    if verdict.outcome != "inconclusive" or is_spent(tested, rules):
        return False
    if rules.mode == "fast" and verdict.alpha is not None:
        return False  # had its one test
    return parentage(candidate.parent, champion.version, candidate.requested_by).passed


def next_look(seen: int, rules: Gate) -> int | None:
    """The rows of evidence at which to look again, after a look at `seen`; None when the window is full."""
    if seen >= rules.window:
        return None
    fewest = ceil(-log2(level(rules))) if level(rules) > 0 else rules.window  # fewer rows can never reject
    return min(max(fewest, ceil(seen * GROWTH), seen + 1), rules.window)


def is_owed(verdict: VerdictReached, champion: ModelStateChanged | None) -> bool:
    """Whether a promotion was decided and not made: the champion that it replaces serves, and has since before it.

    One that came to serve after the verdict was brought back by a rollback; that decision stands.
    """
    if verdict.outcome != "promote":
        return False
    if champion is None:
        return verdict.champion is None
    return champion.version == verdict.champion and champion.occurred_at <= verdict.occurred_at
