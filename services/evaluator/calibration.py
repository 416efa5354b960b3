"""Calibration: whether a classifier that is 80 % sure is right in 80 % of cases. Shown to people; it blocks nothing."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.events import Check

BINS = 10


def expected_error(sure: Sequence[float], scores: Sequence[float]) -> float:
    """Expected calibration error over ten equal bins of belief: Σ n_b/n · |mean score − belief| (Naeini 2015)."""
    gaps = [0.0] * BINS
    for belief, score in zip(sure, scores, strict=True):
        gaps[min(int(belief * BINS), BINS - 1)] += score - belief
    return sum(map(abs, gaps)) / len(sure) if sure else 0.0


def check(champion: Sequence[float], candidate: Sequence[float], right: Sequence[Sequence[float]]) -> Check:
    """Both versions' errors; `right` holds the scores of the champion's and of the candidate's answers."""
    old, new = (expected_error(sure, scores) for sure, scores in zip((champion, candidate), right, strict=True))
    reason = f"Its belief is off by {100 * new:.1f} points on average, the champion's by {100 * old:.1f}. Shown only."
    return Check(name="calibration", passed=True, value=new, threshold=old, n=len(candidate), reason=reason)
