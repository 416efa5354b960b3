"""What the collector answers when it has taken something."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from shared.http.problems import Problem


class Receipt(BaseModel):
    """The events are durable: those of now, and those that are repeats."""

    model_config = ConfigDict(frozen=True)

    accepted: int = Field(description="How many of the events that were sent are durable.")
    event_ids: list[str] = Field(description="Their ids as you gave them, or as made here; in the order of the bodies.")
    server_id: bool = Field(description="An id was made here: a repeat of that body will count as another event.")
    request_id: str | None = Field(default=None, description="Of a training request: progress is told under it.")
    user_key: str | None = Field(default=None, description="Of an erasure: the pseudonym that is being forgotten.")
    duplicate: bool | None = Field(default=None, description="This one event was here before; nothing was added.")
    duplicates: list[int] | None = Field(default=None, description="Items of the list that were here before, from 0.")
    warnings: list[str] | None = Field(
        default=None,
        description="`unknown_fields`: kept aside. `clock_skew`: `said_at` left out. `unknown_version`: quarantined. "
        "`unproven_user`: a page named a user without a token.",
    )
    errors: list[Problem] | None = Field(default=None, description="Items of the list that were refused, and why.")
