"""Harm to a part of the traffic that the whole hides: one exact test for worse a slice, Holm's correction over all.

A slice that is shown to be worse blocks the candidate. That none is shown says only so much as the slices have rows,
so the check tells the smallest loss that it would have seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from schemas.events import Check
from services.evaluator.rows import Row
from services.evaluator.sizes import smallest_visible_loss
from services.evaluator.statistics import Paired, holm, p_better

FEWEST = 30  # rows of a slice that is looked at; below, even half of it lost is missed half the time
LEVEL = 0.05  # chance of any false alarm over all slices
MOST_NAMED = 5

Slices = Mapping[str, Sequence[int]]  # name → its rows


def slices(rows: Sequence[Row]) -> Slices:
    """The slices with rows enough: right labels, and the values of tags."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        found[f"label {row.target}"].append(number)
        for tag, value in row.tags:
            found[f"{tag}={value}"].append(number)
    return {name: members for name, members in sorted(found.items()) if len(members) >= FEWEST}


def harm(evidence: Paired, parts: Slices, power: float) -> Check:
    """Whether the candidate is shown to be worse on a slice. Passed without slices, since there is nothing to see."""
    if not parts:
        reason = f"No slice has {FEWEST} solicited answers yet; harm to a part of the traffic would not be seen."
        return Check(name="slices", passed=True, reason=reason)
    worse = {name: p_better(evidence.part(members).swapped()) for name, members in parts.items()}
    fallen = [name for name, is_worse in zip(worse, holm(list(worse.values()), LEVEL), strict=True) if is_worse]
    lowest = min(worse, key=worse.__getitem__)
    say = _harmed(evidence, parts, fallen) if fallen else _unharmed(evidence, parts, lowest, worse[lowest], power)
    return Check(
        name="slices",
        passed=not fallen,
        value=min(1.0, worse[lowest] * len(parts)),
        threshold=LEVEL,
        n=sum(map(len, parts.values())),
        reason=say[:500],
    )


def _harmed(evidence: Paired, parts: Slices, fallen: Sequence[str]) -> str:
    told = [_told(name, evidence.part(parts[name])) for name in fallen[:MOST_NAMED]]
    more = f" and {len(fallen) - MOST_NAMED} more" if len(fallen) > MOST_NAMED else ""
    return f"Worse on {len(fallen)} of {len(parts)} slices: {'; '.join(told)}{more}."


def _unharmed(evidence: Paired, parts: Slices, lowest: str, p: float, power: float) -> str:
    gains, losses = evidence.masses()
    sizes = sorted({min(map(len, parts.values())), max(map(len, parts.values()))})
    seen = [
        f"{_points(smallest_visible_loss(n, (gains + losses) / evidence.n, LEVEL / len(parts), power))} (n = {n})"
        for n in sizes
    ]
    nearest = _told(lowest, evidence.part(parts[lowest]))
    return (
        f"No proven harm in {len(parts)} slices; the lowest p is {p:.3f}, of {nearest}."
        f" With {power:.0%} power it would have seen a loss of {' to '.join(seen)}."
    )


def _told(name: str, rows: Paired) -> str:
    return f"«{name[:60]}» ({rows.gains} gained, {rows.losses} lost of {rows.n})"


def _points(loss: float | None) -> str:
    return "no loss at all" if loss is None else f"{100 * loss:.0f} points"
