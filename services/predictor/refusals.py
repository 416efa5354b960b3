"""Versions that should serve and cannot: which, why and since when, for metrics, the log and `GET /v1/models`."""

from __future__ import annotations

import structlog
from prometheus_client import Counter, Gauge

from schemas.events import ModelStateChanged
from shared.errors import LearnbackError

LONGEST = 300  # characters of a reason, which is a metric's label

SWAP_FAILED = Counter("learnback_swap_failed_total", "Champions and canaries that could not be loaded", ["model"])
SWAP_REFUSED = Gauge(
    "learnback_swap_refused_timestamp_seconds",
    "When a champion or canary was refused, since 1970; gone once its alias names a version that serves",
    ["model", "alias", "version", "reason"],
)

log = structlog.get_logger()


class Refusals:
    """The refused version of each alias, until another state of it is taken."""

    def __init__(self) -> None:
        """Start with none."""
        self._standing: dict[tuple[str, str], tuple[str, str]] = {}  # model and alias → version and reason

    def of(self, model: str) -> str | None:
        """The version that a model should serve and cannot; the champion's first."""
        found = self._standing.get((model, "champion")) or self._standing.get((model, "canary"))
        return found[0] if found else None

    def add(self, state: ModelStateChanged, error: Exception) -> None:
        """A version cannot be trusted: raise an alarm, which stands until its alias is well again."""
        reason = str(error) if isinstance(error, LearnbackError) else type(error).__name__
        self.clear(state)
        self._standing[state.model, state.alias] = state.version, reason[:LONGEST]
        SWAP_FAILED.labels(state.model).inc()
        SWAP_REFUSED.labels(state.model, state.alias, state.version, reason[:LONGEST]).set_to_current_time()
        log.error("swap_refused", model=state.model, version=state.version, alias=state.alias, reason=reason)

    def clear(self, state: ModelStateChanged) -> None:
        """What was refused under this state's alias is not wanted any more, or has been taken."""
        if refused := self._standing.pop((state.model, state.alias), None):
            SWAP_REFUSED.remove(state.model, state.alias, *refused)
