"""Reads what is known of some inputs: their votes, rulings and vouched targets, as the pure modules take them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, Select, case, select
from sqlmodel import col

from services.recorder import anchors
from services.recorder.anchors import Edit
from services.recorder.sql import among
from services.recorder.votes import Ruling, Vote
from shared import label_schema
from shared.label_schema import LabelSchema
from shared.policy import PolicyFile
from shared.tables import Example, FeedbackRow, Prediction, Review, Version, Vouched
from shared.tables.words import heard_on, said_on

RULINGS = ("accept", "reject", "relabel")
VOTE_COLUMNS = (
    "example_id",
    "event_id",
    "occurred_at",
    "prediction_id",
    "user_key",
    "kind",
    "target",
    "solicited",
    "wrong",
    "version",
)


@dataclass(frozen=True)
class Evidence:
    """One example's place and all that was said of it."""

    id: str
    model: str
    origin: str
    side: str
    graduated: bool
    votes: tuple[Vote, ...]
    ruling: Ruling | None
    vouched: str | None
    guard: str = ""
    held: str = ""  # the rule that has it in quarantine
    capped: bool = False  # it has votes beyond their users' cap
    retired: bool = False  # somebody calls right what a reviewer retired; it is left out of votes, ruling and vouched


def read(connection: Connection, ids: Sequence[str], policies: PolicyFile) -> list[Evidence]:
    """What is known of the examples that exist, of at most one chunk of ids; labels as reviewers let them stand."""
    votes, rulings = _votes(connection, ids), rulings_on(connection, ids)
    capped = _capped(connection, [one for one in ids if one not in votes])
    query = select(
        col(Example.id),
        col(Example.model),
        col(Example.origin),
        col(Example.side),
        col(Example.graduated),
        col(Vouched.target).label("vouched"),
        col(Example.guard),
        case((col(Example.status) == "quarantined", col(Example.reason)), else_="").label("held"),
    ).join_from(Example, Vouched, col(Vouched.example_id) == col(Example.id), isouter=True)
    found = [
        Evidence(
            id=row.id,
            model=row.model,
            origin=row.origin,
            side=row.side,
            graduated=row.graduated,
            votes=tuple(votes[row.id]),
            ruling=rulings.get(row.id),
            vouched=row.vouched,
            guard=row.guard,
            held=row.held,
            capped=row.id in capped,
        )
        for row in connection.execute(query.where(among(connection, Example.id, ids)))
    ]
    edits = anchors.edits_on(connection, [one.id for one in found if one.origin == "anchor"], policies)
    found = [edited(one, edits[one.id]) if one.id in edits else one for one in found]
    known = label_schema.schemas(connection, {one.model for one in found})
    return [standing(one, known[one.model]) if one.model in known else one for one in found]


def edited(one: Evidence, edits: Sequence[Edit]) -> Evidence:
    """A row of the golden anchor as its edits leave it; a decision on the example holds when it is newer than they."""
    newest = edits[-1]
    vouched = next((edit.target for edit in reversed(edits) if edit.target is not None), one.vouched)
    if one.ruling is not None and one.ruling.moment is not None and one.ruling.moment > newest.moment:
        return replace(one, vouched=vouched)
    return replace(one, vouched=vouched, ruling=Ruling("reject") if newest.target is None else None)


def standing(one: Evidence, schema: LabelSchema) -> Evidence:
    """The evidence with each label as what it stands for, and without what stands for nothing."""
    spoken = [(vote, schema.standing(vote.target)) for vote in one.votes]
    votes = tuple(replace(vote, target=label) for vote, label in spoken if label is not None)
    ruling = one.ruling
    if ruling is not None and ruling.target is not None:
        label = schema.standing(ruling.target)
        ruling = None if label is None else replace(ruling, target=label)
    vouched = None if one.vouched is None else schema.standing(one.vouched)
    left, said = (votes, ruling, vouched), (one.votes, one.ruling, one.vouched)
    retired = len(votes) < len(spoken) or [part is None for part in left] != [part is None for part in said]
    return replace(one, votes=votes, ruling=ruling, vouched=vouched, retired=retired)


def _votes(connection: Connection, ids: Sequence[str]) -> dict[str, list[Vote]]:
    """The counted votes of each example from its MOST_HEARD-th newest on (more when some are of the same moment)."""
    rows = connection.execute(_newest_votes().where(among(connection, Example.id, ids))).all()
    knowledge = labels_of(connection, {row.version for row in rows})
    votes: dict[str, list[Vote]] = defaultdict(list)
    for row in rows:
        known = knowledge.get(row.version)
        votes[row.example_id].append(_vote(row, knew=not known or row.target in known))
    return votes


def _capped(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Those with votes that do not count."""
    beyond = select(col(Example.id)).join(
        FeedbackRow, said_on(Example, FeedbackRow, col(FeedbackRow.counted).is_(False))
    )
    return set(connection.execute(beyond.where(among(connection, Example.id, ids))).scalars()) if ids else set()


def _newest_votes() -> Select[*tuple[Any, ...]]:
    """Votes joined to their examples, with the scores of what they are about."""
    served = col(Prediction.prediction_id) == col(FeedbackRow.prediction_id)
    score = select(col(Prediction.score)).where(served).scalar_subquery()
    columns = [col(getattr(FeedbackRow, name)) for name in VOTE_COLUMNS]
    return select(*columns, score.label("score")).join_from(Example, FeedbackRow, heard_on(Example, FeedbackRow))


def _vote(row: Row[Any], knew: bool) -> Vote:
    return Vote(
        event_id=row.event_id,
        occurred_at=row.occurred_at,
        prediction_id=row.prediction_id,
        user_key=row.user_key,
        kind=row.kind,
        target=row.target,
        solicited=row.solicited,
        wrong=bool(row.wrong),
        score=row.score,
        knew=knew,
    )


def labels_of(connection: Connection, versions: Iterable[str]) -> dict[str, frozenset[str]]:
    """The labels that each recorded version knows; foreign versions, and those that write text, have none."""
    query = select(col(Version.version), col(Version.labels)).where(col(Version.version).in_(sorted(versions)))
    return {version: frozenset(labels) for version, labels in connection.execute(query)}


def rulings_on(connection: Connection, ids: Sequence[str]) -> dict[str, Ruling]:
    """The newest decision on each example. A relabel without a label decides nothing."""
    query = select(
        col(Review.subject), col(Review.occurred_at), col(Review.event_id), col(Review.decision), col(Review.target)
    ).where(
        among(connection, Review.subject, ids), col(Review.subject_kind) == "example", col(Review.decision).in_(RULINGS)
    )
    rulings: dict[str, Ruling] = {}
    for example, at, event_id, decision, target in sorted(connection.execute(query), key=lambda row: (row[1], row[2])):
        if decision != "relabel" or target:
            rulings[example] = Ruling(decision, target, (at, event_id))
    return rulings
