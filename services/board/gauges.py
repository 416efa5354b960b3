"""What the other services show of themselves on `/metrics`: what SQL cannot know."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 1.0  # a page does not wait for a service that is away
REFUSED = "learnback_swap_refused_timestamp_seconds"
REFUSED_LABELS = ("model", "alias", "version", "reason")
VISIBLE = "learnback_e2e_visible_seconds_bucket"


@dataclass(frozen=True)
class Shown:
    """The samples of one service: name → labels and value of each."""

    samples: dict[str, list[tuple[dict[str, str], float]]] = field(default_factory=dict)

    def total(self, name: str) -> float | None:
        """The sum of a metric's samples; None when the service does not have it."""
        found = self.samples.get(name)
        return sum(value for _, value in found) if found else None

    def by(self, name: str, label: str) -> dict[str, float]:
        """A metric's samples by one of their labels."""
        return {labels.get(label, ""): value for labels, value in self.samples.get(name, [])}


def read(url: str) -> Shown | None:
    """What a service shows; None when it does not answer."""
    try:
        answer = httpx.get(f"{url.rstrip('/')}/metrics", timeout=TIMEOUT_S).raise_for_status()
        families = list(text_string_to_metric_families(answer.text))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None
    samples: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in families:
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((dict(sample.labels), float(sample.value)))
    return Shown(samples)


@dataclass(frozen=True)
class Refused:
    """A version that should serve, or be on trial, and that a predictor does not trust."""

    at: datetime
    model: str
    alias: str
    version: str
    reason: str


def refused(predictor: Shown) -> tuple[Refused, ...]:
    """What the predictor refused and nobody has put right yet, newest first."""
    found = [
        Refused(datetime.fromtimestamp(value, UTC), *(labels.get(name, "") for name in REFUSED_LABELS))
        for labels, value in predictor.samples.get(REFUSED, [])
    ]
    return tuple(sorted(found, key=lambda one: (one.at, one.model, one.alias), reverse=True))


def quantile(buckets: dict[str, float], share: float) -> float | None:
    """The value below which a share of a histogram's observations lies, as Prometheus' `histogram_quantile` does it.

    `buckets` holds the cumulative count of each upper bound. Within a bucket observations are taken as evenly spread;
    what lies beyond the last finite bound is told as that bound.
    """
    bounds = sorted((float(bound), count) for bound, count in buckets.items())
    total = bounds[-1][1] if bounds else 0
    if not total:
        return None
    wanted, below, before = share * total, 0.0, 0.0
    for bound, count in bounds:
        if count >= wanted:
            if bound == float("inf") or count == before:
                return below
            return below + (bound - below) * (wanted - before) / (count - before)
        below, before = bound, count
    return below
