"""Bounded queries for what users said of outputs beside naming the right one: a longer log makes none dearer.

Only what stands is read: the input is on side train and not quarantined, and neither is its class of near-duplicates;
votes beyond their user's cap are left out, and an erased user's rows are gone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, Select, exists, func, or_
from sqlalchemy.orm import aliased
from sqlmodel import Session, case, col, select

from shared.grading import same_output
from shared.tables import Example, FeedbackRow, Lesson, Prediction
from shared.tables.words import heard_on
from shared.trust import MEMORY, posterior_mean

MOST_EXAMINED = 20_000  # newest feedback of a model among which pairs and thumbs are looked for
CHUNK = 500  # SQLite binds at most 999 variables in old builds


@dataclass(frozen=True)
class Voice:
    """One feedback, the input it is about and what is known to be right there (None: nothing)."""

    id: str
    example_id: str
    user: str | None
    at: datetime
    kind: str
    value: Any
    wrong: bool | None
    prediction_id: str
    output: str
    target: str | None
    learned: bool

    @property
    def speaker(self) -> str:
        """Who speaks: the user, or, without a name, the prediction it was said of."""
        return self.user or f"prediction:{self.prediction_id}"

    @property
    def outputs(self) -> tuple[str, str]:
        """The better output of a preference, and the other; else the one that is liked or not, and nothing."""
        if self.kind == "preference":
            return self.value["chosen"], self.value["rejected"]
        return self.output, ""


def corrected(session: Session, ids: Iterable[str]) -> dict[str, str]:
    """Example → the newest output that a user corrected there, where it is not what is right by now."""
    wanted = sorted(ids)
    found: dict[str, str] = {}
    for start in range(0, len(wanted), CHUNK):
        query = (
            select(Example.id, Example.target, Prediction.output)
            .join(Prediction, col(Prediction.prediction_id) == _newest_correction())
            .where(col(Example.id).in_(wanted[start : start + CHUNK]), Example.status == "train")
        )
        rows = session.exec(query)
        found.update((one, output) for one, target, output in rows if target and not same_output(output, target))
    return found


def hear(session: Session, model: str, kinds: Sequence[str], most: int, line: Collection[str]) -> list[Voice]:
    """The newest voices of some kinds that stand, newest first; `line` are the versions that may have learned them."""
    newest = col(FeedbackRow.occurred_at).desc(), col(FeedbackRow.event_id).desc()
    examined = select(FeedbackRow).where(FeedbackRow.model == model).order_by(*newest).limit(MOST_EXAMINED)
    said = aliased(FeedbackRow, examined.subquery())
    heard = _standing(said, line).where(col(said.kind).in_(kinds))
    heard = heard.order_by(col(said.occurred_at).desc(), col(said.event_id).desc()).limit(most)
    return [Voice(*row) for row in session.execute(heard)]


def judged(session: Session, ids: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Feedback → the outputs that it is about, as `Voice.outputs`; what stands no more is missing from the answer."""
    wanted = sorted(ids)
    found: dict[str, tuple[str, str]] = {}
    for start in range(0, len(wanted), CHUNK):
        some = _standing(FeedbackRow, ()).where(col(FeedbackRow.event_id).in_(wanted[start : start + CHUNK]))
        found.update((voice.id, voice.outputs) for voice in (Voice(*row) for row in session.execute(some)))
    return found


def inputs_of(session: Session, ids: Iterable[str]) -> dict[str, str]:
    """The inputs that opinions are about, by example id."""
    wanted = sorted(ids)
    found: dict[str, str] = {}
    for start in range(0, len(wanted), CHUNK):
        some = col(Example.id).in_(wanted[start : start + CHUNK])
        found.update(session.exec(select(Example.id, Example.text).where(some)).all())
    return found


def _standing(said: type[FeedbackRow], line: Collection[str]) -> Select[*tuple[Any, ...]]:
    """The fields of a voice, for feedback that may be learned from."""
    learned = exists().where(col(Lesson.example_id) == col(said.event_id), col(Lesson.version).in_(sorted(line)))
    fields = select(  # type: ignore[call-overload]  # more columns than SQLModel has overloads for
        said.event_id,
        said.example_id,
        said.user_key,
        said.occurred_at,
        said.kind,
        said.value,
        said.wrong,
        said.prediction_id,
        Prediction.output,
        case((Example.status == "train", Example.target), else_=None),
        learned,
    )
    joined = fields.join(Example, col(Example.id) == said.example_id)
    joined = joined.join(Prediction, col(Prediction.prediction_id) == said.prediction_id)
    stands = Example.side == "train", col(Example.status).in_(("train", "pending")), Example.guard == ""
    counts = or_(col(said.counted).is_(None), col(said.counted).is_(True))
    return cast(Select[*tuple[Any, ...]], joined.where(counts, *stands))


def trust_of(session: Session, model: str, heard: Sequence[Voice]) -> dict[str, float]:
    """The trust of those who speak, on the day of the newest word: what their votes of the days before it earned."""
    users = sorted({one.user for one in heard if one.user})
    if not users:
        return {}
    newest = heard[0].at
    agreed = func.sum(case((col(FeedbackRow.agrees).is_(True), 1), else_=0))
    known: dict[str, float] = {}
    for start in range(0, len(users), CHUNK):
        marked = (
            select(FeedbackRow.user_key, agreed, func.count())
            .where(col(FeedbackRow.user_key).in_(users[start : start + CHUNK]), FeedbackRow.model == model)
            .where(col(FeedbackRow.agrees).is_not(None), FeedbackRow.occurred_at > newest - MEMORY)
            .group_by(col(FeedbackRow.user_key))
        )
        known.update((user or "", posterior_mean(yes, both - yes)) for user, yes, both in session.exec(marked))
    return known


def _newest_correction() -> ColumnElement[Any]:
    """The prediction of the newest correction on an example whose answer was not its target, among the heard votes."""
    said, served = aliased(FeedbackRow), aliased(Prediction)
    answer = select(served.output).where(col(served.prediction_id) == col(said.prediction_id)).scalar_subquery()
    return (
        select(said.prediction_id)
        .where(heard_on(Example, said), said.kind == "correction")
        .where(col(said.wrong).is_(True), answer != col(Example.target))
        .order_by(col(said.occurred_at).desc(), col(said.event_id).desc())
        .limit(1)
        .correlate(Example)
        .scalar_subquery()
    )
