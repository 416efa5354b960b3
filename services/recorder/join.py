"""Feedback meets its prediction, whichever came first. Until then it is an orphan: visible, with no model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, or_, select
from sqlmodel import col

from schemas.events import FeedbackReceived, PreferencePair
from services.recorder.facts import Stored
from services.recorder.identity import Fresh
from services.recorder.rows import Row, insert, overwrite
from services.recorder.sql import among, chunks
from shared.grading import same_output
from shared.tables import Example, FeedbackRow, Prediction
from shared.tables.words import said_on

RIGHT_STARS = 4  # of five: four and five say that the output was right, one and two that it was wrong
WRONG_STARS = 2
AUDIT = "audit"  # the kind of word that a draw for reviewers is: it says nothing yet, and comes first


class Judgement(NamedTuple):
    """What one feedback tells of its prediction: the right output, and whether the served one was wrong."""

    target: str | None
    wrong: bool | None


class Answer(NamedTuple):
    """What a feedback is about: the input and what was served for it."""

    model: str
    version: str
    example_id: str
    text: str
    output: str
    solicited: bool
    score: float | None


class Joined(NamedTuple):
    """A feedback that found its prediction; or a prediction that was drawn for reviewers."""

    event_id: str
    occurred_at: datetime
    prediction_id: str
    user_key: str | None
    kind: str
    answer: Answer
    target: str | None
    wrong: bool | None

    @property
    def moment(self) -> tuple[datetime, str]:
        """Its place in the order of all feedback, equal in every replay."""
        return self.occurred_at, self.event_id

    @property
    def teaches(self) -> bool:
        """Whether anything can be learned of it: a target, that an output is wrong, or which of two is better.

        From a draw, what a reviewer will say.
        """
        return self.target is not None or self.wrong is True or self.kind in ("preference", AUDIT)

    @property
    def drawn(self) -> bool:
        """Whether chance chose it before anybody saw the answer: it is evidence, and no lesson."""
        return self.answer.solicited or self.kind == AUDIT


def judge(kind: str, value: Any, output: str) -> Judgement:
    """What a feedback of this kind and value says of the served output. White space around an output means nothing."""
    served = output.strip() or None
    if kind == "correction":
        right = str(value).strip() or None
        return Judgement(right, None if right is None else not same_output(output, right))
    right_or_wrong = {"up": False, "down": True}.get(str(value)) if kind == "thumbs" else None
    if kind == "rating":
        right_or_wrong = False if value >= RIGHT_STARS else True if value <= WRONG_STARS else None
    return Judgement(served if right_or_wrong is False else None, right_or_wrong)


def find(connection: Connection, stored: Stored) -> list[Joined]:
    """New feedback whose prediction is there, and the orphans that new predictions were waited for by, judged."""
    new = {key: answer_of(row) for key, row in stored.predictions.items()}
    answers = new | _answers(connection, {one.event.prediction_id for one in stored.feedback} - new.keys())
    joined = []
    for event, _ in stored.feedback:
        if (answer := answers.get(event.prediction_id)) is not None:
            kind, value = event.feedback.kind, event.feedback.value
            judged = judge(kind, value, answer.output)
            joined.append(
                Joined(event.event_id, event.occurred_at, event.prediction_id, event.user_key, kind, answer, *judged)
            )
    return joined + _orphans(connection, new)


def write(
    connection: Connection,
    feedback: Sequence[Fresh[FeedbackReceived]],
    joined: Sequence[Joined],
    counted: frozenset[str],
    first: frozenset[str],
) -> None:
    """Write new feedback with what the join told of it, and complete the orphans among what was joined.

    `counted` are the event ids of those that are votes within their user's cap, `first` of first words on their inputs.
    """
    told = {one.event_id: _columns(one, counted, first) for one in joined}
    insert(connection, FeedbackRow, (_row(*one) | told.pop(one.event.event_id, ORPHAN) for one in feedback))
    overwrite(connection, FeedbackRow, [{"event_id": event_id, **columns} for event_id, columns in told.items()])


def answer_of(row: Row) -> Answer:
    """What a new row of a prediction says of its input and output."""
    return Answer(
        row["model"],
        row["version"],
        row["example_id"],
        row["input"],
        row["output"],
        row["solicit"],
        row["score"],
    )


def _answers(connection: Connection, prediction_ids: Iterable[str]) -> dict[str, Answer]:
    query: Select[*tuple[Any, ...]] = select(col(Prediction.prediction_id), *ANSWER)
    return {
        row[0]: Answer(*row[1:])
        for ids in chunks(prediction_ids)
        for row in connection.execute(query.where(among(connection, Prediction.prediction_id, ids)))
    }


def _orphans(connection: Connection, answers: Mapping[str, Answer]) -> list[Joined]:
    query: Select[*tuple[Any, ...]] = select(*FEEDBACK, col(FeedbackRow.value)).where(col(FeedbackRow.model).is_(None))
    return [
        Joined(event_id, at, key, user, kind, answers[key], *judge(kind, value, answers[key].output))
        for ids in chunks(answers)
        for event_id, at, key, user, kind, value in connection.execute(
            query.where(among(connection, FeedbackRow.prediction_id, ids))
        )
    ]


def words_on(connection: Connection, examples: Sequence[str]) -> list[Joined]:
    """All feedback on some examples that teaches something."""
    teaches = or_(
        col(FeedbackRow.target).is_not(None), col(FeedbackRow.wrong).is_(True), col(FeedbackRow.kind) == "preference"
    )
    query: Select[*tuple[Any, ...]] = (
        select(*FEEDBACK, *ANSWER, col(FeedbackRow.target), col(FeedbackRow.wrong))
        .join_from(Example, FeedbackRow, said_on(Example, FeedbackRow, teaches))
        .join(Prediction, col(FeedbackRow.prediction_id) == col(Prediction.prediction_id))
        .where(among(connection, Example.id, examples))
    )
    return [
        Joined(event_id, at, key, user, kind, Answer(*told[:-2]), *told[-2:])
        for event_id, at, key, user, kind, *told in connection.execute(query)
    ]


def _row(event: FeedbackReceived, content: str) -> Row:
    said = event.feedback.value
    return {
        "event_id": event.event_id,
        "content": content,
        "prediction_id": event.prediction_id,
        "kind": event.feedback.kind,
        "value": said.model_dump() if isinstance(said, PreferencePair) else said,
        "app": event.app,
        "user_key": event.user_key,
        "tags": event.tags,
        "occurred_at": event.occurred_at,
        "agrees": None,
    }


def _columns(one: Joined, counted: frozenset[str], first: frozenset[str]) -> Row:
    return {
        "model": one.answer.model,
        "version": one.answer.version,
        "example_id": one.answer.example_id,
        "solicited": one.answer.solicited,
        "target": one.target,
        "wrong": one.wrong,
        "further": one.event_id not in first,
        "counted": None if one.target is None else one.event_id in counted,
    }


FEEDBACK = (
    col(FeedbackRow.event_id),
    col(FeedbackRow.occurred_at),
    col(FeedbackRow.prediction_id),
    col(FeedbackRow.user_key),
    col(FeedbackRow.kind),
)
ANSWER = (
    col(Prediction.model),
    col(Prediction.version),
    col(Prediction.example_id),
    col(Prediction.input),
    col(Prediction.output),
    col(Prediction.solicit),
    col(Prediction.score),
)
JOINED_COLUMNS = ("model", "version", "example_id", "solicited", "target", "wrong", "further", "counted")
ORPHAN: Row = dict.fromkeys(JOINED_COLUMNS)  # what is known of an orphan
