"""Every event on Kafka, as frozen pydantic models: the single source of all schemas.

Events are past-tense facts. Inside a major version only optional fields are added; anything else is a new
class and a new ``.v2`` topic. Readers ignore fields they do not know, exports are closed (see ``schemas.export``).
Validation errors hide their input, so that no user text reaches a log.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints
from pydantic_core import PydanticCustomError

MAX_INPUT = 10_000  # characters: a long mail; MiniLM reads 256 tokens of it, a causal LM a few thousand
MAX_OUTPUT = 10_000
MAX_LABEL = 200
MAX_COMMENT = 4_000
MAX_TAGS = 16
MAX_EXTENSIONS = 4_096  # bytes
MAX_BODY = 65_536  # bytes of what one event says
SCHEMA_VERSION = 1  # of what apps send; a greater one waits in quarantine for a newer Learnback


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """Refuse what a text column or a UTF-8 stream cannot hold: NUL and lone surrogates.

    Raises:
        PydanticCustomError: ``invalid_unicode``, without the text.
    """
    if "\x00" in text if text.isascii() else _UNSTORABLE.search(text):
        raise PydanticCustomError("invalid_unicode", "Text must not hold NUL or lone surrogates")
    return text


@lru_cache(maxsize=1024)  # the events of one request share theirs, and each says it twice
def in_utc(moment: datetime) -> str:
    """The one form of a time on the wire: RFC 3339, UTC, microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


Storable = AfterValidator(storable)
Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Key = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=MAX_LABEL, strip_whitespace=True), Storable]
Input = Annotated[str, StringConstraints(min_length=1, max_length=MAX_INPUT), Storable]
Output = Annotated[str, StringConstraints(min_length=1, max_length=MAX_OUTPUT), Storable]
Note = Annotated[str, StringConstraints(max_length=MAX_COMMENT), Storable]
Tags = Annotated[dict[Name, Annotated[str, StringConstraints(max_length=100), Storable]], Field(max_length=MAX_TAGS)]
Time = Annotated[AwareDatetime, PlainSerializer(in_utc, return_type=str, when_used="json")]
Share = Annotated[float, Field(ge=0, le=1)]
Task = Literal["classification", "generation"]


class Record(BaseModel):
    """A frozen value inside an event."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, hide_input_in_errors=True, allow_inf_nan=False)


class Event(Record):
    """What all events have: who said it, when, and an id that makes a repeat recognisable for ever."""

    event_id: Id = Field(description="Unique for ever; the same id is the same event.")
    occurred_at: Time = Field(description="When it happened, by the clock of the service that accepted it.")
    source: Name = Field(description="The service that wrote the event.")


# --- what apps and users say -------------------------------------------------------------------------------------


class Said(Event):
    """What came from outside, with what it said beyond our own fields."""

    said_at: Time | None = Field(default=None, description="When it was said, by the sender's clock; if plausible.")
    extensions: Annotated[str, StringConstraints(max_length=MAX_EXTENSIONS)] | None = Field(
        default=None, description="Fields that we do not know, as a JSON object. Nothing here reads them."
    )


class LabelScore(Record):
    """One label and the share of belief that the version gave it."""

    label: Label
    score: Share


class PredictionServed(Said):
    """One input and the output that a version gave."""

    prediction_id: Id
    model: Name
    version: Id = Field(description="The version that answered, or the app's own name for it.")
    input: Input
    output: Output
    scores: Annotated[tuple[LabelScore, ...], Field(max_length=20)] = Field(
        default=(), strict=False, description="Top-k labels, highest first (classification)."
    )
    solicit: bool = Field(default=False, description="Feedback was asked for at random, before anyone saw the answer.")
    solicit_rate: Share = Field(default=0.0, description="The probability of `solicit`.")
    audit: bool | None = Field(
        default=None, description="Drawn at random, before anyone saw the answer, for a reviewer; null: nobody draws."
    )
    audit_rate: Share | None = Field(default=None, description="The probability of `audit`.")
    app: Name
    user_key: Key | None = Field(default=None, description="HMAC of the user's id; the id itself is never stored.")
    tags: Tags = Field(default_factory=dict)


class Thumbs(Record):
    """Right or wrong, in the user's eyes."""

    kind: Literal["thumbs"] = "thumbs"
    value: Literal["up", "down"]


class Rating(Record):
    """One to five stars."""

    kind: Literal["rating"] = "rating"
    value: Annotated[int, Field(ge=1, le=5)]


class Correction(Record):
    """What the output should have been; equal to the output when it was right."""

    kind: Literal["correction"] = "correction"
    value: Output


class PreferencePair(Record):
    """Two outputs, of which the user likes the first better."""

    chosen: Output
    rejected: Output


class Preference(Record):
    """One output is better than another."""

    kind: Literal["preference"] = "preference"
    value: PreferencePair


class Comment(Record):
    """Free words."""

    kind: Literal["comment"] = "comment"
    value: Annotated[str, StringConstraints(min_length=1, max_length=MAX_COMMENT), Storable]


Feedback = Annotated[Thumbs | Rating | Correction | Preference | Comment, Field(discriminator="kind")]


class FeedbackReceived(Said):
    """What someone said of a prediction."""

    prediction_id: Id
    feedback: Feedback
    app: Name
    user_key: Key | None = None
    tags: Tags = Field(default_factory=dict)


class ReviewDecided(Said):
    """A reviewer's decision on an example, a version, a label or a row of the golden anchor, with who and why."""

    subject_kind: Literal["example", "version", "label", "anchor"]
    subject: Id = Field(description="The example's or the version's id; a hash of model and label, or model and text.")
    model: Name
    decision: Literal[
        "accept", "reject", "relabel", "promote", "rollback", "hold", "release", "merge", "retire", "restore", "add"
    ]
    target: Output | None = Field(
        default=None, description="The right output, for `relabel` and `add`; the label it goes into, for `merge`."
    )
    label: Label | None = Field(default=None, description="The label that is decided on.")
    text: Input | None = Field(default=None, description="The input of the anchor's row that is decided on.")
    prediction_id: Id | None = Field(
        default=None, description="Of an audit: the prediction that was drawn. The reviewer saw its input alone."
    )
    reviewer: Name
    app: Name | None = Field(default=None, description="Whose key it came with.")
    note: Note = ""


class EventQuarantined(Event):
    """Someone said something in a later version of the schema; it waits for a Learnback that knows it."""

    reason: Literal["unknown_version"] = "unknown_version"
    schema_version: Annotated[int, Field(gt=SCHEMA_VERSION)]
    becomes: Literal["PredictionServed", "FeedbackReceived"] = Field(description="The event that it will be.")
    prediction_id: Id
    app: Name
    user_key: Key | None = None
    body: Annotated[str, StringConstraints(max_length=MAX_BODY), Storable] = Field(
        description="What was sent, as a JSON object, without the user's id."
    )


class UserErased(Event):
    """A user asked to be forgotten."""

    user_key: Key
    requested_by: Name


class EventsCounted(Event):
    """How many events one process accepted in one minute: what the ledger holds against what arrived."""

    instance: Id = Field(description="The process; each of its events carries it in the header `x-instance`.")
    bucket: Time = Field(description="Start of the minute in which the events occurred.")
    accepted: Annotated[int, Field(ge=0)] = Field(description="Events of this minute that are durable, until now.")
    spooled: Annotated[int, Field(ge=0)] = Field(default=0, description="Not told: counts wait behind what they count.")
    unresolved: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Events that were refused after they had been sent: they may arrive or not."
    )


# --- what the loop finds and does --------------------------------------------------------------------------------


NEW_LABEL = "(new)"  # what a slice calls each label that no version answers with, and that may be a user's own words


class ErrorSliceUpdated(Event):
    """How often one slice of the traffic failed in one bucket of time."""

    model: Name
    slice: Annotated[str, StringConstraints(min_length=1, max_length=450), Storable] = Field(
        description="`label=…`, `confusion=predicted→right`, `app=…` or `tag=name:value`."
    )
    bucket: Time = Field(description="Start of the bucket.")
    bucket_seconds: Annotated[int, Field(gt=0)]
    judged: Annotated[int, Field(ge=0)] = Field(description="Predictions of the slice that someone judged.")
    wrong: Annotated[int, Field(ge=0)]


class DriftDetected(Event):
    """The rate of errors among judged predictions changed."""

    model: Name
    slice: Annotated[str, StringConstraints(min_length=1, max_length=450), Storable]
    rate_before: Share
    rate_after: Share
    detector: Name


class Dataset(Record):
    """A file of examples in the artifact store, named by its content."""

    uri: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    sha256: Digest
    rows: Annotated[int, Field(gt=0)]


class ModelCard(Record):
    """What a model is before its first version: task, base and the data that a person vouches for."""

    task: Task
    base: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    examples: Dataset
    anchor: Dataset | None = None


class TrainingRequested(Said):
    """Someone or something asks for an increment; with `card`, for a new model's v0."""

    request_id: Id
    model: Name
    trigger: Literal["added", "examples", "schedule", "slice", "drift", "person"]
    detail: Annotated[str, StringConstraints(max_length=500)] = ""
    requested_by: Name
    card: ModelCard | None = None
    parent: Id | None = Field(default=None, description="The version to start from; the champion when null.")
    tainted: Annotated[tuple[Id, ...], Field(strict=False, max_length=1000)] = Field(
        default=(), description="Versions that learned from an erased user, which this increment shall replace."
    )


class TrainingProgressed(Event):
    """Where an increment stands."""

    request_id: Id
    model: Name
    state: Literal["started", "running", "finished", "skipped", "failed"]
    step: Annotated[int, Field(ge=0)] = 0
    steps: Annotated[int, Field(ge=0)] = 0
    loss: float | None = None
    examples_per_s: Annotated[float, Field(ge=0)] | None = None
    seconds_left: Annotated[float, Field(ge=0)] | None = None
    detail: Annotated[str, StringConstraints(max_length=500)] = ""


class CandidateTrained(Event):
    """A new version exists and asks to serve."""

    request_id: Id
    model: Name
    task: Task
    base: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    version: Id
    parent: Id | None = None
    trigger: Annotated[str, StringConstraints(max_length=50)]
    requested_by: Name
    manifest_sha256: Digest
    labels: Annotated[tuple[Label, ...], Field(strict=False)] = ()
    lessons: Annotated[tuple[Id, ...], Field(strict=False)] = Field(
        default=(),
        description="Ids of the examples that this increment learned first, and of the preferences and likes it heard.",
    )
    replayed: Annotated[int, Field(ge=0)] = 0
    steps: Annotated[int, Field(ge=0)] = 0
    train_seconds: Annotated[float, Field(ge=0)] = 0.0
    examples_per_s: Annotated[float, Field(ge=0)] = 0.0
    loss_curve: Annotated[tuple[float, ...], Field(strict=False)] = ()
    dev_score: Share | None = None
    step_size: Share | None = Field(default=None, description="λ: how far the candidate moved from its parent.")


class Check(Record):
    """One test of the gate: what was measured, against what, and what follows."""

    name: Name
    passed: bool
    value: float | None = None
    threshold: float | None = None
    n: Annotated[int, Field(ge=0)] = 0
    reason: Annotated[str, StringConstraints(max_length=500)]


class VerdictReached(Event):
    """The gate's answer on one candidate, with every figure and reason."""

    model: Name
    candidate: Id
    champion: Id | None = None
    outcome: Literal["promote", "reject", "inconclusive"]
    reason: Annotated[str, StringConstraints(max_length=1000)]
    checks: Annotated[tuple[Check, ...], Field(strict=False)] = ()
    champion_accuracy: Share | None = None
    candidate_accuracy: Share | None = None
    evidence: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Rows both versions were judged on: solicited answers and audits."
    )
    audits: Annotated[int, Field(ge=0)] = Field(default=0, description="Rows of them that are a reviewer's labels.")
    silent: Annotated[tuple[Id, ...], Field(strict=False)] | None = Field(
        default=None,
        description="Predictions on whose input the two differ, and of which no user who was asked has said anything:"
        " for a reviewer to label.",
    )
    labels_to_decide: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="How many more rows would decide, when inconclusive; audits where users are silent."
    )
    anchor: Id | None = Field(
        default=None, description="The golden anchor that it was judged on: a hash of its rows; null: there was none."
    )
    alpha: Share | None = Field(default=None, description="Level of the superiority test; null: none was made.")
    alpha_left: Share | None = Field(
        default=None, description="What the champion's reign still has to spend on tests; null: no budget (mode fast)."
    )
    look: Annotated[int, Field(ge=1)] = Field(
        default=1, description="Which look at the candidate this is; the last one stands."
    )
    fixes: Annotated[tuple[Id, ...], Field(strict=False)] = Field(
        default=(), description="Corrected train-side examples that the candidate gets right."
    )
    decided_by: Name = "gate"


class ModelStateChanged(Event):
    """An alias of a model now names another version. Written by the evaluator alone."""

    model: Name
    alias: Literal["champion", "canary"]
    task: Task
    base: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    version: Id
    previous: Id | None = None
    manifest_sha256: Digest
    decision: Id = Field(description="The event id of the verdict, review or request that moved the alias.")
    decided_by: Name = Field(default="gate", description="`gate`, `canary`, `watch`, or the reviewer who decided.")
    share: Annotated[float, Field(ge=0, le=0.5)] = Field(
        default=0.0, description="Of users whom a canary serves; 0: its trial is over. A champion serves all others."
    )
    reason: Annotated[str, StringConstraints(max_length=1000)]


class DecisionAnswered(Event):
    """What became of a reviewer's decision on a version. Written by the evaluator alone."""

    model: Name
    review: Id = Field(description="The event id of the ReviewDecided.")
    version: Id
    decision: Literal["promote", "rollback", "hold", "release"]
    reviewer: Name
    outcome: Literal["done", "waits", "refused"] = Field(description="`waits`: for a second reviewer.")
    reason: Annotated[str, StringConstraints(max_length=1000)]


EVENTS: dict[str, type[Event]] = {
    event.__name__: event
    for event in (
        PredictionServed,
        FeedbackReceived,
        ReviewDecided,
        EventQuarantined,
        UserErased,
        EventsCounted,
        ErrorSliceUpdated,
        DriftDetected,
        TrainingRequested,
        TrainingProgressed,
        CandidateTrained,
        VerdictReached,
        ModelStateChanged,
        DecisionAnswered,
    )
}


def json_schema(event: type[Event]) -> dict[str, Any]:
    """The closed JSON Schema of an event (``additionalProperties: false`` throughout), for compatibility checks."""
    schema = event.model_json_schema()
    for part in [schema, *schema.get("$defs", {}).values()]:
        if part.get("type") == "object" and "properties" in part:
            part["additionalProperties"] = False
    return schema
