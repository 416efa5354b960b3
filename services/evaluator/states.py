"""Model states as the evaluator writes them. Each has an id that follows from what decided it: a repeat is no news."""

from __future__ import annotations

from datetime import datetime

from schemas.events import CandidateTrained, ModelStateChanged, ReviewDecided, VerdictReached
from shared.text import short_hash


def on_trial(candidate: CandidateTrained, verdict: VerdictReached, share: float, at: datetime) -> ModelStateChanged:
    """A candidate that the gate promoted serves a share of the users first."""
    return crowned(candidate, verdict, at).model_copy(
        update={"event_id": trial_id(candidate, verdict), "alias": "canary", "share": share}
    )


def trial_id(candidate: CandidateTrained, verdict: VerdictReached) -> str:
    """The id of the state that puts a candidate on trial."""
    return short_hash("canary", candidate.model, candidate.version, verdict.event_id)


def crowned(candidate: CandidateTrained, verdict: VerdictReached, at: datetime) -> ModelStateChanged:
    """A candidate becomes champion by the gate's verdict."""
    return ModelStateChanged(
        event_id=short_hash("state", candidate.model, candidate.version, verdict.event_id),
        occurred_at=at,
        source="evaluator",
        model=candidate.model,
        alias="champion",
        task=candidate.task,
        base=candidate.base,
        version=candidate.version,
        previous=verdict.champion,
        manifest_sha256=candidate.manifest_sha256,
        decision=verdict.event_id,
        reason=verdict.reason,
    )


def after_trial(canary: ModelStateChanged, verdict: VerdictReached, at: datetime) -> ModelStateChanged:
    """A canary becomes champion by its trial."""
    return canary.model_copy(
        update={
            "event_id": short_hash("state", canary.model, canary.version, verdict.event_id),
            "occurred_at": at,
            "alias": "champion",
            "share": 0.0,
            "decision": verdict.event_id,
            "decided_by": verdict.decided_by,
            "reason": verdict.reason,
        }
    )


def trial_over(
    canary: ModelStateChanged, by: VerdictReached | ModelStateChanged, reason: str, at: datetime
) -> ModelStateChanged:
    """A canary serves nobody any more, by its verdict or because another champion serves."""
    return canary.model_copy(
        update={
            "event_id": short_hash("over", canary.event_id),
            "occurred_at": at,
            "share": 0.0,
            "decision": by.event_id if isinstance(by, VerdictReached) else by.decision,
            "decided_by": by.decided_by,
            "reason": reason,
        }
    )


def rolled_back(
    champion: ModelStateChanged, to: ModelStateChanged, verdict: VerdictReached, at: datetime
) -> ModelStateChanged:
    """The champion before serves again, by the watch."""
    return to.model_copy(
        update={
            "event_id": short_hash("state", to.model, to.version, verdict.event_id),
            "occurred_at": at,
            "previous": champion.version,
            "decision": verdict.event_id,
            "decided_by": verdict.decided_by,
            "reason": verdict.reason,
        }
    )


def by_person(to: ModelStateChanged, champion: str | None, review: ReviewDecided, at: datetime) -> ModelStateChanged:
    """A version serves because a person says so."""
    done = "Promoted" if review.decision == "promote" else "Rolled back"
    return to.model_copy(
        update={
            "event_id": short_hash("state", to.model, to.version, review.event_id),
            "occurred_at": at,
            "previous": champion,
            "decision": review.event_id,
            "decided_by": review.reviewer,
            "reason": f"{done} by {review.reviewer}: {review.note or 'no reason given'}"[:1000],
        }
    )
