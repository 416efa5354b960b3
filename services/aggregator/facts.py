"""What the first stage tells the second: small facts about one model, on the internal outcomes topic.

Each fact names its origin, the record that caused it. A record read again after a crash causes the same fact with the
same origin, and whatever counts facts remembers, per source partition, how far it has counted (`Kept.marks`). So a
repeat at either stage changes nothing.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from schemas.events import Name
from shared.envelope import describe
from shared.errors import InvalidEventError


class Value(BaseModel):
    """A frozen value; errors hide what was sent."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Kept(Value):
    """What a table keeps under one key: the partition it lives in, and how far its sources are counted."""

    partition: int
    marks: dict[str, int] = Field(default_factory=dict)

    def has_seen(self, fact: Fact) -> bool:
        """Whether this fact is counted already."""
        return fact.offset <= self.marks.get(fact.origin, -1)

    def marks_with(self, fact: Fact) -> dict[str, int]:
        """The marks after this fact."""
        return {**self.marks, fact.origin: fact.offset}


class Judgement(Value):
    """What is known of a served output: whether it is wrong, and what is right, if someone said it."""

    wrong: bool
    right: str | None = None


class Fact(Value):
    """Something that happened to a model, and the record that caused it: `topic/partition` and offset."""

    model: Name
    origin: str
    offset: int


class Judged(Fact):
    """Feedback changed what is known of one prediction: before and now."""

    kind: Literal["judged"] = "judged"
    app: Name
    served: str
    solicited: bool
    audited: bool = Field(default=False, description="Drawn for reviewers: what is said of it teaches nobody.")
    at: float = Field(description="When the prediction was served, in epoch seconds.")
    tags: dict[str, str] = Field(default_factory=dict, description="Those that the traffic is sliced by.")
    was: Judgement | None
    now: Judgement

    @property
    def teaches(self) -> bool:
        """Whether the prediction became usable for training by this: volunteered, with a first known target."""
        drawn = self.solicited or self.audited
        return not drawn and self.now.right is not None and (self.was is None or self.was.right is None)


class Reviewed(Fact):
    """A reviewer made an example usable for training."""

    kind: Literal["reviewed"] = "reviewed"


class Crowned(Fact):
    """A version became the model's champion."""

    kind: Literal["crowned"] = "crowned"
    version: str
    at: float


AnyFact = Annotated[Judged | Reviewed | Crowned, Field(discriminator="kind")]
_ANY: TypeAdapter[Judged | Reviewed | Crowned] = TypeAdapter(AnyFact)


def read_fact(value: bytes | None) -> Judged | Reviewed | Crowned:
    """The fact that a record carries.

    Raises:
        InvalidEventError: `null_value` or `schema_error`.
    """
    if value is None:
        raise InvalidEventError("null_value", "The record has no value.")
    try:
        return _ANY.validate_json(value)
    except ValidationError as error:
        raise InvalidEventError("schema_error", describe(error)) from None
