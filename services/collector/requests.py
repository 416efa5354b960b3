"""What apps and reviewers may send: strict, so that a typo is told and never silently dropped."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from schemas.events import (
    MAX_COMMENT,
    MAX_LABEL,
    SCHEMA_VERSION,
    Dataset,
    Id,
    Input,
    Label,
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
from shared.http.validation import Shape

USER = "Your id of the user; only a keyed hash of it is kept."
User = Annotated[str, StringConstraints(min_length=1, max_length=200), Storable]
# An app's own id of an event: stored as `<8 hex digits of the app>.<id>`, which is an `Id` of at most 64 characters.
OwnId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,47}$")]
CLOSED = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True, allow_inf_nan=False)


def _text_only(value: Any) -> Any:
    """A number is no time: nobody knows whether it counts seconds or milliseconds."""
    if not isinstance(value, str):
        raise PydanticCustomError("string_type", "A time is text as in RFC 3339, with its offset")
    return value


SaidAt = Annotated[AwareDatetime, BeforeValidator(_text_only), Field(strict=False)]


class Body(BaseModel):
    """What every body may have. A field that we do not know is kept aside: `Prefer: handling=strict` refuses it."""

    model_config = CLOSED | ConfigDict(extra="allow")

    event_id: OwnId | None = Field(
        default=None, description="Your id of the event: makes a repeat harmless. Made here when absent."
    )
    said_at: SaidAt | None = Field(
        default=None,
        description="When it was said (RFC 3339), by your clock. Left out when more than 5 min ahead or 30 d ago; "
        "refused when more than 365 d ago.",
    )
    app: Name | None = Field(default=None, description="If given, the key's own app.")
    schema_version: Literal[1] | None = Field(default=None, description="Of these fields; a later one is quarantined.")


class Spoken(Body):
    """What all feedback has."""

    prediction_id: Id = Field(description="The prediction it is about; it may be posted later than this.")
    user: User | None = Field(default=None, description=USER)
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
    user: User | None = Field(default=None, description=USER)
    tags: Tags = Field(default_factory=dict)


DECISIONS = {
    "example": ("accept", "reject", "relabel"),
    "version": ("promote", "rollback", "hold", "release"),
    "label": ("merge", "retire", "restore"),
    "anchor": ("add", "relabel", "retire"),
}
NAMED_BY = {"label": "label", "anchor": "text"}  # field that names the subject; all else has an id


class ReviewBody(Body):
    """A reviewer's decision on an example, a version, a label or a row of the golden anchor."""

    subject_kind: Literal["example", "version", "label", "anchor"]
    subject: Id | None = Field(
        default=None, description="The example's or the version's id; all else needs none.", validate_default=True
    )
    model: Name
    label: Label | None = Field(default=None, description="The label that is decided on.", validate_default=True)
    text: Input | None = Field(
        default=None, description="The input of the golden anchor's row that is decided on.", validate_default=True
    )
    decision: Literal[
        "accept", "reject", "relabel", "promote", "rollback", "hold", "release", "merge", "retire", "restore", "add"
    ]
    target: Output | None = Field(
        default=None,
        description="The right output, for `relabel` and `add`; the label it goes into, for `merge`.",
        validate_default=True,
    )
    prediction_id: Id | None = Field(
        default=None, description="Of an audit: the prediction that was drawn.", validate_default=True
    )
    reviewer: Name | None = Field(default=None, description="Who decided, when several people share the key.")
    note: Note = ""

    @field_validator("subject", "label", "text")
    @classmethod
    def names_subject(cls, value: str | None, info: ValidationInfo) -> str | None:
        """A label is named by itself, a row of the anchor by its text, all else by its id."""
        kind, field = info.data.get("subject_kind"), info.field_name
        if kind is None:
            return value
        wanted = NAMED_BY.get(kind, "subject")
        if value is None and field == wanted:
            raise PydanticCustomError("missing", "Field required")
        if value is not None and field == "label" and field != wanted:
            raise PydanticCustomError("wrong_label", "A label belongs to decisions on labels")
        if value is not None and field == "text" and field != wanted:
            raise PydanticCustomError("wrong_text", "A text belongs to decisions on the golden anchor")
        return value

    @field_validator("decision")
    @classmethod
    def fits_subject(cls, decision: str, info: ValidationInfo) -> str:
        """Examples are accepted, rejected or relabelled; versions promoted, rolled back or held; others have theirs."""
        if decision not in DECISIONS.get(info.data.get("subject_kind", ""), (decision,)):
            raise PydanticCustomError("wrong_decision", "This decision does not fit the subject's kind")
        return decision

    @field_validator("target")
    @classmethod
    def fits_decision(cls, target: str | None, info: ValidationInfo) -> str | None:
        """A target belongs to `relabel`, `add` and `merge`, which need one; no label is merged into itself."""
        decision, label = info.data.get("decision"), info.data.get("label")
        if decision is not None and (decision in ("relabel", "add", "merge")) != (target is not None):
            raise PydanticCustomError(
                "wrong_target", "'relabel', 'add' and 'merge' need a target, and nothing else has one"
            )
        if target is not None and info.data.get("subject_kind") == "anchor" and not target.strip():
            raise PydanticCustomError("wrong_target", "A row of the golden anchor needs an output that is not blank")
        if target is not None and decision == "merge":
            target = target.strip()  # as `Label` does
            if target in ("", label) or len(target) > MAX_LABEL:
                raise PydanticCustomError("wrong_target", "A label is merged into another label")
        return target

    @field_validator("prediction_id")
    @classmethod
    def fits_audit(cls, prediction_id: str | None, info: ValidationInfo) -> str | None:
        """An audit says what is right or that nothing is: who accepts has seen what others said."""
        if prediction_id is not None and info.data.get("decision") not in (None, "relabel", "reject"):
            raise PydanticCustomError("wrong_decision", "An audit is a 'relabel' or a 'reject'")
        return prediction_id


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


class ErasureBody(BaseModel):
    """A user asks to be forgotten. It is closed: a typo here would forget somebody else, or nobody."""

    model_config = CLOSED

    user: User = Field(description="Your id of the user, as you gave it with feedback.")
    app: Name | None = Field(default=None, description="Whose user; the key's own app, if it is no reviewer's key.")
    event_id: OwnId | None = Field(default=None, description="Your id of the request: makes a repeat harmless.")


class NewerBody(BaseModel):
    """What is read of a body in a later version of the schema: enough to keep it until we know the rest."""

    model_config = CLOSED | ConfigDict(extra="allow")

    becomes: ClassVar[Literal["PredictionServed", "FeedbackReceived"]] = "PredictionServed"
    event_id: OwnId | None = None
    app: Name | None = None
    schema_version: Annotated[int, Field(gt=SCHEMA_VERSION)]
    prediction_id: Id
    user: User | None = None


class NewerFeedback(NewerBody):
    """Feedback of a later version."""

    becomes = "FeedbackReceived"
    kind: Annotated[str, StringConstraints(min_length=1, max_length=64), Storable]


FeedbackBody = Annotated[
    ThumbsBody | RatingBody | CorrectionBody | PreferenceBody | CommentBody, Field(discriminator="kind")
]
AnyBody = Body | NewerBody | ErasureBody
FEEDBACK: Shape[AnyBody] = Shape(TypeAdapter(FeedbackBody), "kind", TypeAdapter(NewerFeedback), SCHEMA_VERSION)
PREDICTION: Shape[AnyBody] = Shape(TypeAdapter(PredictionBody), None, TypeAdapter(NewerBody), SCHEMA_VERSION)
REVIEW: Shape[AnyBody] = Shape(TypeAdapter(ReviewBody))
TRAINING: Shape[AnyBody] = Shape(TypeAdapter(TrainingBody))
ERASURE: Shape[AnyBody] = Shape(TypeAdapter(ErasureBody))
