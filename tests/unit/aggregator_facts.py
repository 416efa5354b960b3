"""Facts and loops for the aggregator's tests."""

from __future__ import annotations

from typing import Any

from services.aggregator.facts import Crowned, Judged, Judgement
from services.aggregator.triggers import Loop, on_crowned, on_usable

MODEL = "support-intent"
NOON = 1_800_000_000.0

WRONG = Judgement(wrong=True)
RIGHT = Judgement(wrong=False, right="refund")
CORRECTED = Judgement(wrong=True, right="billing")
LABELS = frozenset({"billing", "login", "refund"})


def judged(offset: int = 0, now: Judgement = CORRECTED, **fields: Any) -> Judged:
    """A prediction of `refund`, corrected to `billing` unless told otherwise."""
    told: dict[str, Any] = {
        "origin": "feedback.v1/0",
        "app": "shop",
        "served": "refund",
        "solicited": False,
        "at": NOON,
        "was": None,
        **fields,
    }
    return Judged(model=MODEL, offset=offset, now=now, **told)


def crowned(version: str = "v0", at: float = NOON) -> Crowned:
    """A version became champion."""
    return Crowned(model=MODEL, origin="models.v1/0", offset=0, version=version, at=at)


def reigning(usable: int = 0) -> Loop:
    """A loop with a champion since noon and some usable examples."""
    loop = on_crowned(Loop(partition=0, model=MODEL), crowned(), NOON)
    for offset in range(usable):
        loop = on_usable(loop, judged(offset))
    return loop
