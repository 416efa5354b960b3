"""Graduation: holdout rows older than the gate's window become lessons.

Of a model's holdout side the newest `gate.window` rows are evidence. Only the rows around the boundary move, so a
batch costs the same however long the log is.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, literal, literal_column, select, tuple_, update
from sqlmodel import col

from services.recorder.sql import chunks
from shared.policy import PolicyFile
from shared.tables import Example, UtcTime

ON_HOLDOUT = col(Example.side) == literal_column("'holdout'")  # spelt out, so that it is seen to be the index's


def settle(connection: Connection, models: Iterable[str], policies: PolicyFile) -> set[str]:
    """Graduate what fell out of each model's window, take back what is in it again; the examples that changed."""
    changed: set[str] = set()
    for model in sorted(set(models)):
        leaving, returning = _crossing(connection, model, policies.of(model).gate.window)
        for ids, graduated in ((leaving, True), (returning, False)):
            for some in chunks(ids):
                connection.execute(update(Example).where(col(Example.id).in_(some)).values(graduated=graduated))
        changed |= leaving | returning
    return changed


def _crossing(connection: Connection, model: str, window: int) -> tuple[set[str], set[str]]:
    place = tuple_(col(Example.first_at), col(Example.id))
    held = select(col(Example.id)).where(col(Example.model) == model, ON_HOLDOUT)
    oldest_first = (col(Example.first_at), col(Example.id))
    newest_first = [column.desc() for column in oldest_first]
    boundary = connection.execute(
        select(*oldest_first)
        .where(col(Example.model) == model, ON_HOLDOUT)
        .order_by(*newest_first)
        .offset(window)
        .limit(1)
    ).one_or_none()
    graduates = held.where(col(Example.graduated).is_(True))
    if boundary is None:
        return set(), set(connection.execute(graduates).scalars())
    first_out = tuple_(literal(boundary.first_at, UtcTime()), literal(boundary.id))
    beyond = held.where(col(Example.graduated).is_(False), place <= first_out)
    back = graduates.where(place > first_out)
    return set(connection.execute(beyond).scalars()), set(connection.execute(back).scalars())
