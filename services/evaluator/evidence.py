"""The rows that a candidate is judged on, read from SQL: solicited holdout, golden anchor, corrections, silence."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Engine, exists, func
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from services.evaluator import silence
from services.evaluator.rows import Row
from shared.anchor import version_of
from shared.tables import Example, FeedbackRow, Prediction
from shared.tables.words import said_on

MOST_CORRECTIONS = 2000  # newest open corrections that a verdict looks at; bounds its cost
MOST_LESSONS = 5000  # of a candidate that are looked through for triggers: all but of a refresh
MOST_EXAMINED = 20_000  # newest lessons among which open corrections are looked for; 50 ms

Query = SelectOfScalar[Example]


@dataclass(frozen=True)
class Evidence:
    """Everything a candidate is looked at with. `solicited` holds what reviewers labelled, too.

    `silent` are inputs of the same time that users were asked about and did not answer, nor a reviewer in their place:
    without a target, and `unbounded` when there are more than were looked at. `anchor_version` names the golden anchor
    as reviewers have it now; `anchor` leaves out what the candidate was taught before it was put there.
    """

    solicited: tuple[Row, ...]
    anchor: tuple[Row, ...]
    corrections: tuple[Row, ...]
    silent: tuple[Row, ...] = ()
    unbounded: bool = False
    anchor_version: str | None = None


def gather(
    engine: Engine,
    model: str,
    window: int,
    taught: Collection[str],
    since: datetime | None = None,
    tags: Collection[str] = (),
) -> Evidence:
    """The evidence on a model now, without the ids that the candidate was trained on, whatever SQL says of them.

    Of the solicited answers the newest `window`, and of these what was first spoken of after `since`.
    """
    with Session(engine) as session:
        usable = session.exec(_solicited(model, window, since)).all()
        begin = min((one.first_at for one in usable), default=None)
        asked = [] if begin is None else silence.asked(session, model, window, begin)
        labelled, silent = silence.labelled(session, model, asked)
        found = [row for row in (*silence.audited(session, _rows(usable)), *labelled) if row.id not in taught]
        anchor = _read(session, _anchor(model))
        return Evidence(
            tuple(tagged(session, found, tags) if tags else found),
            tuple(row for row in anchor if row.id not in taught),
            _read(session, _corrections(model)),
            silent,
            unbounded=len(asked) >= window,
            anchor_version=version_of((row.id, row.target) for row in anchor),
        )


def count(engine: Engine, model: str, window: int, since: datetime | None = None) -> int:
    """How many solicited rows there are to judge on."""
    with Session(engine) as session:
        return session.exec(select(func.count()).select_from(_solicited(model, window, since).subquery())).one()


def lessons(engine: Engine, ids: Collection[str]) -> tuple[Row, ...]:
    """Those of some lessons that are still there, as they stand now; no more than MOST_LESSONS."""
    with Session(engine) as session:
        return _read(session, select(Example).where(col(Example.id).in_(sorted(ids)[:MOST_LESSONS])))


def _solicited(model: str, window: int, since: datetime | None) -> Query:
    one = _newest(model, "holdout", window)
    usable = select(one).where(one.status == "holdout", col(one.learned_in).is_(None))
    return usable if since is None else usable.where(one.first_at > since)


def _anchor(model: str) -> Query:
    """The golden anchor, but for rows that a reviewer retired."""
    return select(Example).where(Example.model == model, Example.side == "anchor", Example.status == "holdout")


def _corrections(model: str) -> Query:
    """Corrected lessons that no promoted version got right so far, newest first."""
    one = _newest(model, "train", MOST_EXAMINED)
    correction = col(FeedbackRow.kind) == "correction", col(FeedbackRow.wrong).is_(True)
    corrected = exists().where(said_on(one, FeedbackRow, *correction, col(FeedbackRow.solicited).is_(False)))
    still_open = select(one).where(one.status == "train", col(one.fixed_in).is_(None), corrected)
    return still_open.order_by(col(one.first_at).desc()).limit(MOST_CORRECTIONS)


def tagged(session: Session, rows: list[Row], tags: Collection[str]) -> list[Row]:
    """The rows with the wanted tags of a prediction that was answered; the first by id where there were several."""
    query = (
        select(Example.id, Prediction.tags)
        .join(FeedbackRow, said_on(Example, FeedbackRow, col(FeedbackRow.solicited).is_(True)))
        .join(Prediction, col(Prediction.prediction_id) == col(FeedbackRow.prediction_id))
        .where(col(Example.id).in_([row.id for row in rows]))
        .order_by(col(Prediction.prediction_id).desc())
    )
    said = {one: {tag: value for tag, value in found.items() if tag in tags} for one, found in session.exec(query)}
    return [replace(row, tags=tuple(sorted(said.get(row.id, {}).items()))) for row in rows]


def _newest(model: str, side: str, count: int) -> type[Example]:
    """The newest rows of a side, which an index serves however long the log is."""
    of_side = select(Example).where(Example.model == model, Example.side == side)
    newest = of_side.order_by(col(Example.first_at).desc(), col(Example.id).desc()).limit(count)
    return aliased(Example, newest.subquery())


def _read(session: Session, query: Query) -> tuple[Row, ...]:
    return _rows(session.exec(query).all())


def _rows(found: Iterable[Example]) -> tuple[Row, ...]:
    return tuple(Row(one.id, one.text, one.target, one.user_key) for one in found if one.target is not None)
