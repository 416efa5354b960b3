"""Rows of the recorder's database for the board's tests, each with what a test does not care about filled in."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine
from sqlmodel import Session, SQLModel

from shared.tables import (
    ErrorSlice,
    Example,
    FeedbackRow,
    ModelRow,
    Prediction,
    Review,
    StateChange,
    Verdict,
    Version,
)
from shared.tables import Lesson as LessonRow
from shared.text import example_id

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
MODEL = "help-desk"


@dataclass
class Rows:
    """Collects rows, with times in seconds after `START`, and writes them at once."""

    engine: Engine
    model: str = MODEL
    start: datetime = START
    rows: list[SQLModel] = field(default_factory=list)

    def at(self, seconds: float) -> datetime:
        return self.start + timedelta(seconds=seconds)

    def id(self, kind: str) -> str:
        return f"{kind}-{len(self.rows)}"

    def add_model(self, labels: list[str]) -> None:
        self.rows.append(
            ModelRow(
                name=self.model, task="classification", base="all-MiniLM-L6-v2", labels=labels, added_at=self.start
            )
        )

    def version(self, number: int, seconds: float, parent: int | None = None, **given: Any) -> str:
        version = f"{self.model}-{number:02d}"
        facts: dict[str, Any] = {
            "labels": [],
            "replayed": 0,
            "steps": 40,
            "train_seconds": 4.0,
            "examples_per_s": 310.0,
            "loss_curve": [2.0, 1.1, 0.6, 0.4],
            "dev_score": 0.9,
            "step_size": 0.7,
            **given,
        }
        self.rows.append(
            Version(
                version=version,
                event_id=self.id("trained"),
                model=self.model,
                number=number,
                parent=None if parent is None else f"{self.model}-{parent:02d}",
                request_id=f"request-{number}",
                trigger="added" if parent is None else "examples",
                requested_by="aggregator",
                manifest_sha256="0" * 64,
                occurred_at=self.at(seconds),
                **facts,
            )
        )
        return version

    def lesson(self, version: str, example_id: str) -> None:
        self.rows.append(LessonRow(version=version, example_id=example_id))

    def champion(self, version: str, seconds: float, previous: str | None = None, reason: str = "promoted") -> None:
        self.rows.append(
            StateChange(
                event_id=self.id("state"),
                model=self.model,
                alias="champion",
                version=version,
                previous=previous,
                manifest_sha256="0" * 64,
                decision="d",
                reason=reason,
                occurred_at=self.at(seconds),
            )
        )

    def canary(self, version: str, share: float, seconds: float) -> None:
        self.champion(version, seconds)
        state = self.rows[-1]
        assert isinstance(state, StateChange)
        state.event_id, state.alias, state.share = f"canary-{seconds}", "canary", share

    def verdict(self, candidate: str, champion: str | None, outcome: str, seconds: float, **given: Any) -> None:
        facts: dict[str, Any] = {
            "reason": f"{outcome} because of the figures",
            "checks": [],
            "champion_accuracy": 0.6,
            "candidate_accuracy": 0.7,
            "evidence": 200,
            "labels_to_decide": None,
            "alpha": 0.0025,
            "alpha_left": 0.045,
            "fixes": [],
            "decided_by": "gate",
            **given,
        }
        self.rows.append(
            Verdict(
                event_id=self.id("verdict"),
                model=self.model,
                candidate=candidate,
                champion=champion,
                outcome=outcome,
                occurred_at=self.at(seconds),
                **facts,
            )
        )

    def prediction(self, version: str, seconds: float, text: str = "where is my parcel", **given: Any) -> str:
        prediction_id = self.id("p")
        facts: dict[str, Any] = {
            "output": "delivery",
            "score": 0.8,
            "solicit": False,
            "app": "shop",
            "example_id": "e1",
            **given,
        }
        self.rows.append(
            Prediction(
                prediction_id=prediction_id,
                event_id=f"served-{prediction_id}",
                model=self.model,
                version=version,
                input=text,
                solicit_rate=0.1,
                user_key=None,
                occurred_at=self.at(seconds),
                **facts,
            )
        )
        return prediction_id

    def say(self, prediction_id: str, seconds: float, kind: str = "thumbs", **given: Any) -> None:
        facts: dict[str, Any] = {
            "value": "up",
            "version": None,
            "example_id": "e1",
            "solicited": False,
            "target": None,
            "wrong": False,
            "further": True,
            "app": "shop",
            **given,
        }
        self.rows.append(
            FeedbackRow(
                event_id=self.id("f"),
                prediction_id=prediction_id,
                kind=kind,
                user_key=None,
                occurred_at=self.at(seconds),
                model=self.model,
                **facts,
            )
        )

    def asked(self, version: str, seconds: float, right: bool) -> None:
        """A solicited prediction and its answer."""
        self.say(
            self.prediction(version, seconds, solicit=True), seconds + 1, "correction", wrong=not right, solicited=True
        )

    def example(self, example_id: str, status: str = "train", **given: Any) -> None:
        facts: dict[str, Any] = {
            "text": "where is my parcel",
            "origin": "feedback",
            "side": "train",
            "target": "delivery",
            "votes": 1,
            "weight": 1.0,
            "first_at": self.start,
            **given,
        }
        self.rows.append(Example(id=example_id, model=self.model, status=status, **facts))

    def edit(self, seconds: float, decision: str, text: str, target: str | None = None, **given: Any) -> None:
        """A reviewer's edit of the golden anchor."""
        self.rows.append(
            Review(
                event_id=self.id("edit"),
                subject_kind="anchor",
                subject=example_id(self.model, text),
                model=self.model,
                decision=decision,
                target=target,
                text=text,
                occurred_at=self.at(seconds),
                **{"reviewer": "ada", "note": "", **given},
            )
        )

    def slice(self, name: str, seconds: float, judged: int, wrong: int, bucket_seconds: int = 60) -> None:
        self.rows.append(
            ErrorSlice(
                model=self.model,
                slice=name,
                bucket=self.at(seconds),
                bucket_seconds=bucket_seconds,
                judged=judged,
                wrong=wrong,
                occurred_at=self.at(seconds),
            )
        )

    def write(self) -> None:
        """Make the tables and store everything."""
        SQLModel.metadata.create_all(self.engine)
        with Session(self.engine) as session:
            session.add_all(self.rows)
            session.commit()
        self.rows.clear()
