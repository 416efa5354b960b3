"""Figures and rules as people say them."""

from __future__ import annotations

import json
from datetime import datetime

from services.board.proportion import Difference, Proportion

MINUTE, HOUR, DAY = 60, 3600, 86400
RULES = {  # the recorder's rules, as a reviewer reads them
    "burst": "Many users began to speak of nearly the same text at once",
    "near_duplicate": "The same user has voted on nearly the same text before",
    "confident_champion": "The model was sure of its answer, and a single user contradicts it",
    "conflict": "Users contradict each other",
    "new_label": "The model does not know this label, and too few users have named it",
    "retired_label": "A reviewer has retired the label",
    "quorum": "Too few users agree",
    "user_cap": "Said only by users who were beyond their daily cap",
    "no_target": "Called wrong, or less good than another; nobody said what is right",
}


def percent(share: float | None, digits: int = 1) -> str:
    """`83.5 %`; a dash for what is not known."""
    return "–" if share is None else f"{share * 100:.{digits}f} %"


def points(share: float | None) -> str:
    """`+42.1 points`: a difference of two shares, which is not a percentage of either."""
    return "–" if share is None else f"{share * 100:+.1f} points"


def accuracy(proportion: Proportion) -> str:
    """`83.5 % (76.1–89.0, n = 100)`: never a share without its band and its n."""
    if proportion.value is None:
        return "–"
    low, high = proportion.band
    return f"{percent(proportion.value)} ({low * 100:.1f}–{high * 100:.1f}, n = {proportion.n:,})"


def change(found: Difference | None) -> str:
    """`+12.0 points (+4.1 to +19.6)`."""
    return "–" if found is None else f"{points(found.value)} ({found.low * 100:+.1f} to {found.high * 100:+.1f})"


def duration(seconds: float | None) -> str:
    """`0.4 s`, `14 s`, `2.5 min`, `1.3 h`, `2.0 d`."""
    if seconds is None:
        return "–"
    if seconds < MINUTE:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    for limit, unit, name in ((HOUR, MINUTE, "min"), (DAY, HOUR, "h")):
        if seconds < limit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds / DAY:.1f} d"


def ago(moment: datetime | None, now: datetime) -> str:
    """`14 s ago`; `never` for no moment."""
    return "never" if moment is None else f"{duration(max(0.0, (now - moment).total_seconds()))} ago"


def figure(value: float | None) -> str:
    """A measured number of unknown size, in at most four digits: `0.0042`, `0.935`, `1.3e-05`, `1,024`."""
    if value is None:
        return "–"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    return f"{value:.3g}"


def rule(name: str) -> str:
    """A rule's or a check's name as words: `new_label` is `New label`."""
    return name.replace("_", " ").replace("-", " ").strip().capitalize()


def structured(output: str) -> str | None:
    """A JSON object or array with a line for each of its parts; None for any other text."""
    if output.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.dumps(json.loads(output), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None


def why(reason: str) -> str:
    """The rule that keeps an example back, in words; without one, its users disagree."""
    return RULES.get(reason) or rule(reason) or "Users disagree"
