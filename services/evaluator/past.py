"""What is on record of a model's candidates, and what a gate could have known of them at any moment."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate

from sqlalchemy import Engine

from schemas.events import CandidateTrained, ModelStateChanged
from services.evaluator.evidence import Evidence
from services.evaluator.rows import Row
from shared.anchor import version_of
from shared.text import short_hash


@dataclass(frozen=True)
class Recorded:
    """A candidate as it was announced, when it was first judged, and what came of it: the gate's last word, or none."""

    made: CandidateTrained
    name: str
    at: datetime
    outcome: str | None


@dataclass(frozen=True)
class Reign:
    """A version that became champion, and whether a person or the watch decided it, and not the gate."""

    version: str
    since: datetime
    previous: str | None
    by_hand: bool


@dataclass(frozen=True)
class Past:
    """One model's record: candidates and reigns in order, solicited rows by the moment they were first spoken of."""

    model: str
    candidates: tuple[Recorded, ...]
    reigns: tuple[Reign, ...]
    moments: tuple[datetime, ...]
    rows: tuple[Row, ...]
    anchor: tuple[Row, ...]
    learned: Mapping[str, frozenset[str]] = field(repr=False)  # by version: what it and its line have learned

    def state(self, version: str, since: datetime, previous: str | None) -> ModelStateChanged:
        """The news that a version serves from some moment on."""
        made = next(one.made for one in self.candidates if one.made.version == version)
        return ModelStateChanged(
            event_id=short_hash("backtest", version, since.isoformat()),
            occurred_at=since,
            source="evaluator",
            model=self.model,
            alias="champion",
            task=made.task,
            base=made.base,
            version=version,
            previous=previous,
            manifest_sha256=made.manifest_sha256,
            decision="backtest",
            reason="As a policy would have had it.",
        )

    def between(self, begin: datetime, end: datetime | None) -> tuple[Row, ...]:
        """The solicited rows that came after a moment, up to another."""
        last = len(self.rows) if end is None else bisect_right(self.moments, end)
        return self.rows[bisect_right(self.moments, begin) : last]

    def evidence(self, at: datetime, window: int, since: datetime | None, taught: Collection[str]) -> tuple[Row, ...]:
        """The newest rows of the window at a moment, without what was taught by then."""
        end = bisect_right(self.moments, at)
        begin = max(0, end - window, 0 if since is None else bisect_right(self.moments, since))
        return tuple(row for row in self.rows[begin:end] if row.id not in taught)

    def when(
        self, wanted: int, after: datetime, window: int, since: datetime | None, taught: Collection[str]
    ) -> datetime | None:
        """The first moment after another one at which the evidence has so many rows."""
        usable = list(accumulate((row.id not in taught for row in self.rows), initial=0))
        first = 0 if since is None else bisect_right(self.moments, since)
        for end in range(bisect_right(self.moments, after) + 1, len(self.rows) + 1):
            if usable[end] - usable[min(end, max(0, end - window, first))] >= wanted:
                return self.moments[end - 1]
        return None


def glance(past: Past, at: datetime, learned: Collection[str]) -> Callable[..., Evidence]:
    """Gathers as `evidence.gather` would have then; no corrections, since nothing is fixed any more."""

    def gather(
        _engine: Engine,
        _model: str,
        window: int,
        taught: Collection[str],
        since: datetime | None = None,
        _tags: Collection[str] = (),
    ) -> Evidence:
        seen = past.evidence(at, window, since, frozenset(learned) | frozenset(taught))
        version = version_of((row.id, row.target) for row in past.anchor)
        return Evidence(seen, past.anchor, (), anchor_version=version)

    return gather
