"""One example of each event, for tests that hold for all of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from schemas.events import (
    CandidateTrained,
    Check,
    Correction,
    DecisionAnswered,
    DriftDetected,
    ErrorSliceUpdated,
    Event,
    EventQuarantined,
    EventsCounted,
    FeedbackReceived,
    LabelScore,
    ModelStateChanged,
    PredictionServed,
    ReviewDecided,
    TrainingProgressed,
    TrainingRequested,
    UserErased,
    VerdictReached,
)
from shared.envelope import Sealed, unseal

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DIGEST, KEY, MODEL = "0" * 64, "a" * 32, "support-intent"


def _said(event: type[Event], **fields: Any) -> Event:
    return event(event_id=f"e-{event.__name__}", occurred_at=NOON, source="test", **fields)


EXAMPLES: tuple[Event, ...] = (
    _said(
        PredictionServed,
        prediction_id="p-1",
        model=MODEL,
        version="v-1",
        input="where is my parcel?",
        output="parcel",
        scores=(LabelScore(label="parcel", score=0.9),),
        solicit=True,
        solicit_rate=0.1,
        app="shop",
        user_key=KEY,
        tags={"plan": "pro"},
    ),
    _said(FeedbackReceived, prediction_id="p-1", feedback=Correction(value="refund"), app="shop", user_key=KEY),
    _said(
        ReviewDecided, subject_kind="version", subject="v-2", model=MODEL, decision="promote", reviewer="ada", note="ok"
    ),
    _said(
        EventQuarantined,
        schema_version=2,
        becomes="FeedbackReceived",
        prediction_id="p-1",
        app="shop",
        user_key=KEY,
        body='{"kind": "emoji", "prediction_id": "p-1", "schema_version": 2}',
    ),
    _said(UserErased, user_key=KEY, requested_by="shop"),
    _said(EventsCounted, instance="i-1", bucket=NOON, accepted=3, unresolved=1),
    _said(ErrorSliceUpdated, model=MODEL, slice="label=refund", bucket=NOON, bucket_seconds=60, judged=9, wrong=3),
    _said(DriftDetected, model=MODEL, slice="app=shop", rate_before=0.1, rate_after=0.3, detector="adwin"),
    _said(TrainingRequested, request_id="r-1", model=MODEL, trigger="examples", requested_by="aggregator"),
    _said(TrainingProgressed, request_id="r-1", model=MODEL, state="running", step=3, steps=9, loss=0.5),
    _said(
        CandidateTrained,
        request_id="r-1",
        model=MODEL,
        task="classification",
        base="all-MiniLM-L6-v2",
        version="v-2",
        parent="v-1",
        trigger="examples",
        requested_by="aggregator",
        manifest_sha256=DIGEST,
        labels=("parcel", "refund"),
        lessons=("x-1",),
        loss_curve=(0.9, 0.5),
    ),
    _said(
        VerdictReached,
        model=MODEL,
        candidate="v-2",
        champion="v-1",
        outcome="promote",
        reason="better",
        checks=(Check(name="superiority", passed=True, reason="p = .001"),),
    ),
    _said(
        ModelStateChanged,
        model=MODEL,
        alias="champion",
        task="classification",
        base="all-MiniLM-L6-v2",
        version="v-2",
        previous="v-1",
        manifest_sha256=DIGEST,
        decision="e-VerdictReached",
        reason="better",
    ),
    _said(
        DecisionAnswered,
        model=MODEL,
        review="e-ReviewDecided",
        version="v-2",
        decision="promote",
        reviewer="ada",
        outcome="done",
        reason="v-2 serves.",
    ),
)


def carried(one: Sealed) -> Event:
    """The event that a record carries."""
    return unseal(one.record.value, one.record.headers, one.record.topic)
