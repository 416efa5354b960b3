"""Harm to a part of the traffic that the whole hides: one exact test for worse a slice, Holm's correction over all.

A confusion is a slice, too: that one label is newly taken for another shows on few rows, and what was gained elsewhere
in the label hides it. Volunteered rows are in no slice: who volunteers depends on who was wrong, so that of equal
versions either may lose more on them, and no level would hold. They are what triggers are looked for in.

A slice that is shown to be worse blocks the candidate. That none is shown says only so much as the slices have rows,
so the check tells the smallest loss that it would have seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from schemas.events import Check
from services.evaluator.rows import Row
from services.evaluator.sizes import smallest_visible_loss
from services.evaluator.statistics import Paired, holm, p_better

FEWEST = 30  # rows of a slice that is looked at; below, even half of it lost is missed half the time
LEVEL = 0.05  # chance of any false alarm over all slices
FEWEST_APART = 8  # rows of a confusion on which the versions differ: were all of them lost, p would be .004
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


def confusions(
    rows: Sequence[Row],
    evidence: Paired,
    champion: Sequence[str],
    candidate: Sequence[str],
    known: Collection[str],
) -> Slices:
    """The rows on which either version took one label for another, by the answer and the right label.

    That it may be either one is what lets them be tested: of equal versions each is as likely to be the one that erred.
    On the rows that the champion got wrong a candidate can only gain, and on its own only lose. So an answer that only
    one of them knows, a new label say, makes no slice; both know those in `known`.
    """
    found: defaultdict[str, list[int]] = defaultdict(list)
    for number, (row, *said) in enumerate(zip(rows, champion, candidate, strict=True)):
        for answer in sorted({*said} & {*known} - {row.target}):
            found[f"confusion {answer}→{row.target}"].append(number)
    apart = {name: evidence.part(members) for name, members in found.items()}
    return {
        name: members
        for name, members in sorted(found.items())
        if apart[name].gains + apart[name].losses >= FEWEST_APART
    }


def harm(evidence: Paired, wide: Slices, power: float, narrow: Slices = MappingProxyType({})) -> Check:
    """Whether the candidate is shown to be worse on a slice, or on a confusion (`narrow`): one family for Holm.

    Passed without slices, since there is nothing to see.
    """
    parts = {**wide, **narrow}
    if not parts:
        reason = f"No slice has {FEWEST} solicited answers yet; harm to a part of the traffic would not be seen."
        return Check(name="slices", passed=True, reason=reason)
    worse = {name: p_better(evidence.part(members).swapped()) for name, members in parts.items()}
    fallen = [name for name, is_worse in zip(worse, holm(list(worse.values()), LEVEL), strict=True) if is_worse]
    lowest = min(worse, key=worse.__getitem__)
    if fallen:
        say = _harmed(evidence, parts, fallen)
    else:
        nearest = f"the lowest p is {worse[lowest]:.3f}, of {_told(lowest, evidence.part(parts[lowest]))}"
        say = f"No proven harm in {_counted(wide, narrow)}; {nearest}.{_visible(evidence, wide, len(parts), power)}"
    return Check(
        name="slices",
        passed=not fallen,
        value=min(1.0, worse[lowest] * len(parts)),
        threshold=LEVEL,
        n=len({row for members in parts.values() for row in members}),
        reason=say[:500],
    )


def _harmed(evidence: Paired, parts: Slices, fallen: Sequence[str]) -> str:
    told = [_told(name, evidence.part(parts[name])) for name in fallen[:MOST_NAMED]]
    more = f" and {len(fallen) - MOST_NAMED} more" if len(fallen) > MOST_NAMED else ""
    return f"Worse on {len(fallen)} of {len(parts)} slices: {'; '.join(told)}{more}."


def _counted(wide: Slices, narrow: Slices) -> str:
    return f"{len(wide)} slices" + (f" and {len(narrow)} confusions" if narrow else "")


def _visible(evidence: Paired, wide: Slices, tests: int, power: float) -> str:
    """The loss that the smallest and the largest slice would have shown."""
    if not wide:
        return ""
    gains, losses = evidence.masses()
    sizes = sorted({min(map(len, wide.values())), max(map(len, wide.values()))})
    seen = [
        f"{_points(smallest_visible_loss(n, (gains + losses) / evidence.n, LEVEL / tests, power))} (n = {n})"
        for n in sizes
    ]
    return f" With {power:.0%} power it would have seen a loss of {' to '.join(seen)}."


def _told(name: str, rows: Paired) -> str:
    return f"«{name[:60]}» ({rows.gains} gained, {rows.losses} lost of {rows.n})"


def _points(loss: float | None) -> str:
    return "no loss at all" if loss is None else f"{100 * loss:.0f} points"
