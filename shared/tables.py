"""What the recorder made of the topics: the SQL schema, read by trainer, evaluator and board, written by the recorder.

Fact tables hold one row an event. `example` is the curated view of all feedback on one input of a model; it is a pure
function of the facts, so that replaying the log gives the same rows.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json
from sqlalchemy import JSON, Column, DateTime, Engine, Index, String, TypeDecorator, create_engine, event, text
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import TypeEngine
from sqlmodel import Field, SQLModel

CACHE_KB = 65_536  # of SQLite's pages; an index of a million hashes (40 MB) is read and written all over
CHECKPOINT_PAGES = 16_384  # 64 MB of log: a page that many transactions touch is then written back once
CONTENT = "Digest of what the event says: tells a repeat from a conflict."


class UtcTime(TypeDecorator[datetime]):
    """Times as UTC. SQLite has no type for them: there they are text that sorts by time, as SQLAlchemy's own."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Text on SQLite: written and read by C code, a tenth of what SQLAlchemy's formatting costs."""
        return dialect.type_descriptor(String(26) if dialect.name == "sqlite" else self.impl_instance)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Store UTC."""
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None).isoformat(" ", "microseconds") if dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Read UTC."""
        if value is None:
            return None
        moment = datetime.fromisoformat(value) if dialect.name == "sqlite" else value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _time(index: bool = False, nullable: bool = False) -> Column[datetime]:
    return Column(UtcTime, index=index, nullable=nullable)


def _json() -> Column[Any]:
    return Column(JSON, nullable=False)


def _where_known(name: str, known: str, *columns: str) -> Index:
    """An index of the few rows in which a mostly empty column is set."""
    there = text(f"{known} IS NOT NULL")
    return Index(name, *columns, sqlite_where=there, postgresql_where=there)


class Prediction(SQLModel, table=True):
    """PredictionServed. The first event of a prediction_id wins."""

    prediction_id: str = Field(primary_key=True)
    event_id: str = Field(unique=True)
    content: str = Field(default="", description=CONTENT)
    model: str
    version: str
    input: str
    output: str
    score: float | None = Field(default=None, description="Score of the output, when the version gave one.")
    scores: list[dict[str, Any]] = Field(default_factory=list, sa_column=_json())
    solicit: bool
    solicit_rate: float
    app: str
    user_key: str | None
    tags: dict[str, str] = Field(default_factory=dict, sa_column=_json())
    example_id: str
    occurred_at: datetime = Field(sa_column=_time())
    __table_args__ = (Index("prediction_by_model_time", "model", "occurred_at"),)


class FeedbackRow(SQLModel, table=True):
    """FeedbackReceived, with what the join with its prediction told (null while it is an orphan)."""

    __tablename__ = "feedback"
    event_id: str = Field(primary_key=True)
    content: str = Field(default="", description=CONTENT)
    prediction_id: str = Field(index=True)
    kind: str
    value: Any = Field(sa_column=_json())
    app: str
    user_key: str | None
    tags: dict[str, str] = Field(default_factory=dict, sa_column=_json())
    occurred_at: datetime = Field(sa_column=_time())
    model: str | None = None
    version: str | None = None
    example_id: str | None = None
    solicited: bool | None = None
    target: str | None = Field(default=None, description="The right output, as far as this feedback tells.")
    wrong: bool | None = Field(default=None, description="Whether it calls the served output wrong.")
    counted: bool | None = Field(default=None, description="Whether it is a vote within its user's cap; null: no vote.")
    agrees: bool | None = Field(
        default=None, description="Whether a volunteered vote agrees with a reviewer or with solicited answers."
    )
    __table_args__ = (
        Index("feedback_by_user", "user_key", "model", "counted", "occurred_at"),
        Index("feedback_by_example", "example_id", "counted", "occurred_at"),
        Index("feedback_by_model_time", "model", "occurred_at"),
        Index("feedback_by_target", "model", "target"),
        Index("feedback_by_version", "version"),
        Index(
            "feedback_orphans",
            "occurred_at",
            sqlite_where=text("model IS NULL"),
            postgresql_where=text("model IS NULL"),
        ),
        _where_known("feedback_by_agreement", "agrees", "user_key", "model", "occurred_at", "agrees"),
        _where_known("feedback_by_agreed_example", "agrees", "example_id"),
    )


class Review(SQLModel, table=True):
    """ReviewDecided."""

    event_id: str = Field(primary_key=True)
    subject_kind: str
    subject: str = Field(index=True)
    model: str
    decision: str
    target: str | None
    reviewer: str
    note: str
    occurred_at: datetime = Field(sa_column=_time())


class Example(SQLModel, table=True):
    """One input of a model and what is known of its right output.

    `side` is where evidence on its fingerprint began (train or holdout) and never changes; `status` is what may be
    done with it now. Holdout rows that leave the gate's window have status train and stay on side holdout.
    """

    id: str = Field(primary_key=True)
    model: str
    text: str
    fingerprint: str
    origin: str = Field(description="seed, anchor or feedback")
    side: str = Field(description="train, holdout or anchor")
    status: str = Field(description="pending, train, holdout or quarantined")
    reason: str = Field(default="", description="The rule that keeps it pending or quarantined.")
    target: str | None = None
    weight: float = 0.0
    votes: int = 0
    user_key: str | None = Field(default=None, description="Who spoke first.")
    first_at: datetime = Field(sa_column=_time())
    first_event: str = Field(default="", description="The feedback, or the request with the seeds, that came first.")
    first_solicited: bool = False
    guard: str = Field(default="", description="What its class and its first speaker make it: burst, near_duplicate.")
    graduated: bool = Field(default=False, description="On side holdout, and older than the gate's window.")
    reviewed: str | None = Field(default=None, description="The newest reviewer's decision.")
    learned_in: str | None = Field(default=None, description="Champion or its ancestor that learned it.")
    fixed_in: str | None = Field(default=None, description="First promoted version that got its correction right.")
    fixed_at: datetime | None = Field(default=None, sa_column=_time(nullable=True))
    __table_args__ = (
        Index("example_by_status", "model", "status", "learned_in", "first_at", "id"),
        Index("example_by_side", "model", "side", "first_at", "id"),
        Index("example_by_window", "model", "side", "graduated", "first_at", "id"),
        Index("example_by_fingerprint", "model", "fingerprint"),
        Index("example_by_target", "model", "target"),
        _where_known("example_by_lesson", "learned_in", "model", "target", "status", "id"),
        _where_known("example_by_ruling", "reviewed", "model", "target"),
    )


class Vouched(SQLModel, table=True):
    """A row of a model's first examples or of its golden anchor: what the person who added the model vouches for."""

    example_id: str = Field(primary_key=True)
    model: str
    text: str
    target: str
    origin: str = Field(description="seed or anchor")
    request_id: str
    occurred_at: datetime = Field(sa_column=_time())
    __table_args__ = (Index("vouched_by_target", "model", "target"),)


class ModelRow(SQLModel, table=True):
    """A model: what TrainingRequested with a card said it is, or what its first state said."""

    __tablename__ = "model"
    name: str = Field(primary_key=True)
    task: str
    base: str
    labels: list[str] = Field(default_factory=list, sa_column=_json())
    added_at: datetime = Field(sa_column=_time())
    request_id: str | None = Field(default=None, description="The request whose card it is; null: known by its state.")


class Version(SQLModel, table=True):
    """CandidateTrained. `number` counts a model's versions in the order of its log: v0, v1 and so on."""

    version: str = Field(primary_key=True)
    event_id: str = Field(unique=True)
    model: str = Field(index=True)
    number: int
    parent: str | None
    request_id: str
    trigger: str
    requested_by: str
    manifest_sha256: str
    labels: list[str] = Field(default_factory=list, sa_column=_json())
    replayed: int
    steps: int
    train_seconds: float
    examples_per_s: float
    loss_curve: list[float] = Field(default_factory=list, sa_column=_json())
    dev_score: float | None
    step_size: float | None
    occurred_at: datetime = Field(sa_column=_time())


class Lesson(SQLModel, table=True):
    """Which version learned which example first: the lineage, both ways."""

    version: str = Field(primary_key=True)
    example_id: str = Field(primary_key=True, index=True)


class Fix(SQLModel, table=True):
    """Which candidate got which corrected example right, by its verdicts."""

    version: str = Field(primary_key=True)
    example_id: str = Field(primary_key=True, index=True)


class Verdict(SQLModel, table=True):
    """VerdictReached."""

    event_id: str = Field(primary_key=True)
    model: str = Field(index=True)
    candidate: str = Field(index=True)
    champion: str | None
    outcome: str
    reason: str
    checks: list[dict[str, Any]] = Field(default_factory=list, sa_column=_json())
    champion_accuracy: float | None
    candidate_accuracy: float | None
    evidence: int
    labels_to_decide: int | None
    alpha: float | None
    alpha_left: float | None
    fixes: list[str] = Field(default_factory=list, sa_column=_json())
    decided_by: str
    occurred_at: datetime = Field(sa_column=_time())


class StateChange(SQLModel, table=True):
    """ModelStateChanged, all of them: the history of every alias."""

    event_id: str = Field(primary_key=True)
    model: str = Field(index=True)
    alias: str
    version: str = Field(index=True)
    previous: str | None
    manifest_sha256: str
    decision: str
    reason: str
    occurred_at: datetime = Field(sa_column=_time())


class Request(SQLModel, table=True):
    """TrainingRequested."""

    request_id: str = Field(primary_key=True)
    event_id: str = Field(unique=True)
    model: str = Field(index=True)
    trigger: str
    detail: str
    requested_by: str
    occurred_at: datetime = Field(sa_column=_time())


class Progress(SQLModel, table=True):
    """The newest TrainingProgressed of each request."""

    request_id: str = Field(primary_key=True)
    model: str = Field(index=True)
    state: str
    step: int
    steps: int
    loss: float | None
    examples_per_s: float | None
    seconds_left: float | None
    detail: str
    occurred_at: datetime = Field(sa_column=_time())


class ErrorSlice(SQLModel, table=True):
    """The newest ErrorSliceUpdated of each slice and bucket."""

    model: str = Field(primary_key=True)
    slice: str = Field(primary_key=True)
    bucket: datetime = Field(sa_column=Column(UtcTime, primary_key=True))
    bucket_seconds: int
    judged: int
    wrong: int
    occurred_at: datetime = Field(sa_column=_time())


class Drift(SQLModel, table=True):
    """DriftDetected."""

    event_id: str = Field(primary_key=True)
    model: str = Field(index=True)
    slice: str
    rate_before: float
    rate_after: float
    detector: str
    occurred_at: datetime = Field(sa_column=_time())


class Erasure(SQLModel, table=True):
    """The newest UserErased of each user: nothing that the user said until then may be stored again."""

    user_key: str = Field(primary_key=True)
    requested_by: str
    occurred_at: datetime = Field(sa_column=_time())


class Receipt(SQLModel, table=True):
    """What an erasure deleted: counts, and nothing of what was said."""

    event_id: str = Field(primary_key=True, description="The UserErased.")
    user_key: str = Field(index=True)
    predictions: int
    feedback: int
    examples: int
    dead_letters: int
    occurred_at: datetime = Field(sa_column=_time())


class Taint(SQLModel, table=True):
    """A version that learned from an erased user, and the request that shall replace it."""

    version: str = Field(primary_key=True)
    request_id: str = Field(primary_key=True)


class DeadLetter(SQLModel, table=True):
    """Where a record that was put aside came from and why; the bytes stay on the topic."""

    id: str = Field(primary_key=True, description="topic/partition/offset of the record, with the service.")
    topic: str
    partition: int
    offset: int
    service: str
    reason: str = Field(index=True)
    detail: str
    attempts: int = 1
    quarantined: bool = Field(default=False, description="It waits for a newer Learnback, or for a person.")
    redriven: bool = Field(default=False, description="It was sent to its topic again.")
    event_id: str | None = Field(default=None, index=True, description="As the record's bytes tell.")
    user_key: str | None = Field(default=None, index=True, description="As the record's bytes tell.")
    said_at: datetime | None = Field(default=None, sa_column=_time(nullable=True))
    occurred_at: datetime = Field(sa_column=_time())


class LedgerRow(SQLModel, table=True):
    """What one process said it accepted in one minute, and what became of the events that arrived from it.

    It tells how events came, and not what is known: a replay may meet an erasure before what it erases, and counts
    that as erased and not as stored. So the digest leaves it out.
    """

    __tablename__ = "ledger"
    instance: str = Field(primary_key=True)
    bucket: datetime = Field(sa_column=Column(UtcTime, primary_key=True))
    accepted: int = Field(default=0, description="What it said, the last time.")
    unresolved: int = Field(default=0, description="Refused after they were sent: they may have arrived.")
    spooled: int = 0
    told_at: datetime | None = Field(default=None, sa_column=_time(nullable=True))
    arrived: int = Field(default=0, description="Records read, but for those that its log sent twice.")
    stored: int = 0
    repeats: int = Field(default=0, description="Accepted again under the same id, and stored once.")
    conflicts: int = Field(default=0, description="Under an id that another event had taken.")
    dead: int = 0
    quarantined: int = 0
    erased: int = Field(default=0, description="Of users who had asked to be forgotten.")
    missing: int = Field(default=0, description="max(accepted, arrived) less everything above that became of them.")
    __table_args__ = (
        Index("ledger_by_bucket", "bucket"),
        Index("ledger_open", "missing", sqlite_where=text("missing <> 0"), postgresql_where=text("missing <> 0")),
    )


class Consumed(SQLModel, table=True):
    """The next offset of each partition, written in the same transaction as what was read up to it."""

    topic: str = Field(primary_key=True)
    partition: int = Field(primary_key=True)
    next_offset: int


class Attempt(SQLModel, table=True):
    """How often the recorder began at a record and did not get past it (see services.recorder.attempts)."""

    topic: str = Field(primary_key=True)
    partition: int = Field(primary_key=True)
    offset: int
    tries: int


def _to_json(value: object) -> str:
    return to_json(value).decode()  # pydantic's, a fifth of what the standard library's costs


def open_database(url: str, erases: bool = False) -> Engine:
    """An engine for SQLite (WAL, waiting 30 s for a lock) or Postgres. Tables are made by the recorder alone.

    Who `erases` overwrites what it deletes, so that an erased user's bytes are not left in free pages.
    """
    engine = create_engine(url, pool_pre_ping=True, hide_parameters=True, json_serializer=_to_json)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _pragmas(connection: Any, _record: object) -> None:
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=NORMAL")
            cursor.execute("PRAGMA busy_timeout=30000")
            cursor.execute(f"PRAGMA cache_size=-{CACHE_KB}")
            cursor.execute("PRAGMA temp_store=MEMORY")
            cursor.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
            if erases:
                cursor.execute("PRAGMA secure_delete=ON")
            cursor.close()

    return engine
