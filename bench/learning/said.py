"""What users say of a model's answers, as the rows that the recorder would write of it.

Each user speaks once. Where nobody names the right output of a text, it waits and is no lesson.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlmodel import SQLModel

from shared.datasets import Row
from shared.tables import Example, FeedbackRow, Prediction
from shared.text import example_id

SPOKEN = datetime(2026, 1, 1, tzinfo=UTC)


class Said(NamedTuple):
    """What a user says of an answer: that it is liked, or not, or which other output is better."""

    text: str
    output: str
    thought: bool | str

    @property
    def feedback(self) -> tuple[str, Any, bool | None]:
        """Its kind, its value, and whether it calls the answer wrong."""
        if isinstance(self.thought, str):
            return "preference", {"chosen": self.thought, "rejected": self.output}, None
        return "thumbs", "up" if self.thought else "down", not self.thought


def rows_of(said: Sequence[Said], model: str, version: str, start: datetime) -> Iterator[SQLModel]:
    """Inputs, answers and feedback, a second apart."""
    first: dict[str, str] = {}
    for number, one in enumerate(said):
        first.setdefault(one.text, f"f-{number}")
    for text, event in first.items():
        yield Example(
            id=example_id(model, text),
            model=model,
            text=text,
            origin="feedback",
            side="train",
            status="pending",
            reason="no_target",
            first_at=start,
            first_event=event,
        )
    for number, one in enumerate(said):
        kind, value, wrong = one.feedback
        common: dict[str, Any] = {
            "prediction_id": f"p-{number}",
            "model": model,
            "version": version,
            "example_id": example_id(model, one.text),
            "app": "bench",
            "user_key": f"{number:032x}",
            "occurred_at": start + timedelta(seconds=number),
        }
        yield Prediction(
            event_id=f"e-{number}", input=one.text, output=one.output, solicit=False, solicit_rate=0.0, **common
        )
        yield FeedbackRow(
            event_id=f"f-{number}",
            kind=kind,
            value=value,
            wrong=wrong,
            solicited=False,
            further=first[one.text] != f"f-{number}",
            **common,
        )


def correction(model: str, row: Row, version: str) -> dict[str, Any]:
    """A user's word that an answer was wrong and what is right, as a row of feedback that counts."""
    example = example_id(model, row.text)
    return {
        "event_id": f"f-{example}",
        "content": "",
        "prediction_id": f"p-{example}",
        "kind": "correction",
        "value": row.label,
        "app": "bench",
        "user_key": example,
        "tags": {},
        "occurred_at": SPOKEN,
        "model": model,
        "version": version,
        "example_id": example,
        "solicited": False,
        "target": row.label,
        "wrong": True,
        "further": False,
        "counted": True,
    }
