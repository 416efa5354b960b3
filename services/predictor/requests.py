"""What an app sends to have an input answered, and what it gets: the same strict style as the collector's bodies."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from schemas.events import Id, Input, LabelScore, Name, Storable, Tags
from shared.http.validation import Shape

User = Annotated[str, StringConstraints(min_length=1, max_length=200), Storable]

MaxTokens = Annotated[int, Field(ge=1, le=4096)] | None  # an answer ends at the task's own limit in any case
Stops = Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=100), Storable]], Field(max_length=4)]


class PredictBody(BaseModel):
    """One input for a model."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True, allow_inf_nan=False)

    model: Name
    input: Input
    prediction_id: Id | None = Field(default=None, description="Your id of this prediction; made here when absent.")
    user: User | None = Field(default=None, description="Your id of the user; only a keyed hash of it is kept.")
    tags: Tags = Field(default_factory=dict)
    stream: bool = Field(default=False, description="Tell the answer while it is made, as server-sent events.")
    max_tokens: MaxTokens = Field(default=None, description="End an answer of text after so many tokens.")
    stop: Stops = Field(default_factory=list, description="End an answer of text before the first of these.")


PREDICT = Shape(TypeAdapter(PredictBody))


class PredictAnswer(BaseModel):
    """What one version says to the input."""

    model_config = ConfigDict(frozen=True)

    prediction_id: str
    model: str
    version: str = Field(description="The one version that gave this answer.")
    output: str
    scores: list[LabelScore] = Field(description="Top labels with probabilities, highest first.")
    solicit: bool = Field(description="Ask this user for feedback, whatever the answer: drawn at random beforehand.")
    finish: Literal["stop", "length"] = Field(default="stop", description="`length`: it was cut at a limit.")


class ServedModel(BaseModel):
    """A model that answers."""

    model_config = ConfigDict(frozen=True)

    model: str
    task: str
    base: str
    version: str
    refused: str | None = Field(
        default=None, description="The version that should answer, or be on trial, and whose files cannot be trusted."
    )
