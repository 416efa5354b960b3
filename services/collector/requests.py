"""What apps and reviewers may send: strict and closed, so that a typo is told and never silently dropped."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from schemas.events import (
    MAX_COMMENT,
    Dataset,
    Id,
    Input,
    LabelScore,
    ModelCard,
    Name,
    Note,
    Output,
    PreferencePair,
    Share,
    Storable,
    Tags,
)
from shared.http.problems import Problem

User = Annotated[str, StringConstraints(min_length=1, max_length=200), Storable]
# An app's own id of an event: stored as `<8 hex digits of the app>.<id>`, which is an `Id` of at most 64 characters.
OwnId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,47}$")]
CLOSED = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True, allow_inf_nan=False)


class Body(BaseModel):
    """What every body may have."""

    model_config = CLOSED

    event_id: OwnId | None = Field(
        default=None, description="Your id of the event: makes a repeat harmless. Made here when absent."
    )


class Spoken(Body):
    """What all feedback has."""

    prediction_id: Id = Field(description="The prediction it is about; it may be posted later than this.")
    user: User | None = Field(default=None, description="Your id of the user; only a keyed hash of it is kept.")
    tags: Tags = Field(default_factory=dict)


class ThumbsBody(Spoken):
    """Right or wrong, in the user's eyes."""

    kind: Literal["thumbs"]
    value: Literal["up", "down"]


class RatingBody(Spoken):
    """One to five stars."""

    kind: Literal["rating"]
    value: Annotated[int, Field(ge=1, le=5)]


class CorrectionBody(Spoken):
    """What the output should have been."""

    kind: Literal["correction"]
    value: Output


class PairBody(PreferencePair):
    """Two outputs, of which the user likes the first better."""

    model_config = CLOSED


class PreferenceBody(Spoken):
    """One output is better than another."""

    kind: Literal["preference"]
    value: PairBody


class CommentBody(Spoken):
    """Free words."""

    kind: Literal["comment"]
    value: Annotated[str, StringConstraints(min_length=1, max_length=MAX_COMMENT), Storable]


class ScoreBody(LabelScore):
    """One label and the share of belief that the version gave it."""

    model_config = CLOSED


class PredictionBody(Body):
    """One input and the output that an app's own model gave."""

    prediction_id: Id
    model: Name
    version: Id = Field(description="The app's own name of the version that answered.")
    input: Input
    output: Output
    scores: Annotated[tuple[ScoreBody, ...], Field(max_length=20)] = Field(default=(), strict=False)
    solicit: bool = Field(default=False, description="Feedback was asked for at random, before anyone saw the answer.")
    solicit_rate: Share = Field(default=0.0, description="The probability of `solicit`.")
    user: User | None = None
    tags: Tags = Field(default_factory=dict)


class ReviewBody(Body):
    """A reviewer's decision on an example or on a version."""

    subject_kind: Literal["example", "version"]
    subject: Id
    model: Name
    decision: Literal["accept", "reject", "relabel", "promote", "rollback", "hold"]
    target: Output | None = Field(default=None, description="The right output, for `relabel`.", validate_default=True)
    reviewer: Name | None = Field(default=None, description="Who decided, when several people share the key.")
    note: Note = ""

    @field_validator("decision")
    @classmethod
    def fits_subject(cls, decision: str, info: ValidationInfo) -> str:
        """Examples are accepted, rejected or relabelled; versions are promoted, rolled back or held."""
        decides_example = decision in ("accept", "reject", "relabel")
        if info.data.get("subject_kind") not in (None, "example" if decides_example else "version"):
            raise PydanticCustomError("wrong_decision", "This decision does not fit the subject's kind")
        return decision

    @field_validator("target")
    @classmethod
    def fits_decision(cls, target: str | None, info: ValidationInfo) -> str | None:
        """A target belongs to `relabel`, and `relabel` needs one."""
        if "decision" in info.data and (info.data["decision"] == "relabel") != (target is not None):
            raise PydanticCustomError("wrong_target", "A target belongs to 'relabel', and 'relabel' needs one")
        return target


class DatasetBody(Dataset):
    """A file of examples in the artifact store, named by its content."""

    model_config = CLOSED


class CardBody(ModelCard):
    """What a new model is before its first version."""

    model_config = CLOSED

    examples: DatasetBody
    anchor: DatasetBody | None = None


class TrainingBody(Body):
    """Asks for an increment; with `card`, for a new model's first version."""

    model: Name
    card: CardBody | None = None
    detail: Annotated[str, StringConstraints(max_length=500), Storable] = ""


FeedbackBody = Annotated[
    ThumbsBody | RatingBody | CorrectionBody | PreferenceBody | CommentBody, Field(discriminator="kind")
]
FEEDBACK: TypeAdapter[FeedbackBody] = TypeAdapter(FeedbackBody)
PREDICTION = TypeAdapter(PredictionBody)
REVIEW = TypeAdapter(ReviewBody)
TRAINING = TypeAdapter(TrainingBody)


class Receipt(BaseModel):
    """The events are durable: those of now, and those that are repeats."""

    model_config = ConfigDict(frozen=True)

    accepted: int = Field(description="How many of the events that were sent are durable.")
    event_ids: list[str] = Field(description="Their ids as you gave them, or as made here; in the order of the bodies.")
    server_id: bool = Field(description="An id was made here: a repeat of that body will count as another event.")
    request_id: str | None = Field(default=None, description="Of a training request: progress is told under it.")
    duplicate: bool | None = Field(default=None, description="This one event was here before; nothing was added.")
    duplicates: list[int] | None = Field(default=None, description="Items of the list that were here before, from 0.")
    errors: list[Problem] | None = Field(default=None, description="Items of the list that were refused, and why.")
