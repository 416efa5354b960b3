"""What the recorder shows of itself on `/metrics`, besides what every service shows."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from sqlalchemy import Engine, select
from sqlmodel import Session, col

from services.recorder.accounting import OUTCOMES, Arrivals
from services.recorder.batch import Recorded
from shared.ledger import imbalance
from shared.tables import LedgerRow

RECORDED = Counter("learnback_recorded_total", "Events taken from the log, by what became of them", ["outcome"])
VISIBLE = Histogram(
    "learnback_e2e_visible_seconds",
    "From the moment an event was accepted to its row being committed",
    buckets=(0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60, 300),
)
HELD = Counter("learnback_poison_quarantine_total", "Examples that went into quarantine, by rule", ["rule"])
IMBALANCE = Gauge(
    "learnback_ledger_imbalance",
    "Accepted events that are neither stored nor dead nor quarantined nor still to come; must be 0",
    ["window"],
)
WORST = Gauge("learnback_ledger_imbalance_worst_minute", "The largest imbalance of any minute")
WINDOWS = {"1h": timedelta(hours=1), "24h": timedelta(hours=24), "all": None}


def show_recorded(arrivals: Arrivals, made: Recorded, committed: datetime) -> None:
    """Tell what a committed batch came to."""
    for rule, count in made.held.items():
        HELD.labels(rule).inc(count)
    for outcome in OUTCOMES:
        RECORDED.labels(outcome).inc(made.outcomes.get(outcome, 0))
    for _, event in arrivals.slots:
        VISIBLE.observe(max(0.0, (committed - event.occurred_at).total_seconds()))


def show_balance(engine: Engine, now: datetime, read_until: datetime) -> None:
    """Tell how many accepted events are missing; only rows that do not balance are read, and there are few."""
    with Session(engine) as session:
        rows = session.scalars(select(LedgerRow).where(col(LedgerRow.missing) != 0)).all()
    by_minute: dict[datetime, list[Any]] = {}
    for row in rows:
        by_minute.setdefault(row.bucket, []).append(row)
    found = {bucket: imbalance(some, now, read_until) for bucket, some in by_minute.items()}
    for name, width in WINDOWS.items():
        IMBALANCE.labels(name).set(sum(n for bucket, n in found.items() if width is None or now - bucket <= width))
    WORST.set(max(found.values(), default=0))
