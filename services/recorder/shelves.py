"""What was put aside, as rows: the newest letter of each record, but for those of users who asked to be forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, delete
from sqlmodel import Session, col, select

from services.recorder.erasures import forgotten
from services.recorder.sql import chunks, replace
from shared.envelope import Outgoing
from shared.letters import Letter, tombstone
from shared.tables import DeadLetter
from shared.topics import DEAD_LETTERS, QUARANTINE

Letters = Mapping[str, DeadLetter | None]  # by id; None: it was taken back


def row(letter: Letter) -> DeadLetter:
    """The row of a letter: where its record came from and why it was put aside, not what it says."""
    original = letter.original
    return DeadLetter(
        id=letter.id,
        topic=original.topic,
        partition=original.partition,
        offset=original.offset,
        service=letter.service,
        reason=letter.reason,
        detail=letter.error,
        attempts=letter.attempts,
        quarantined=letter.quarantined,
        redriven=letter.redriven,
        event_id=letter.event_id,
        user_key=letter.user_key,
        said_at=letter.said_at,
        occurred_at=letter.written_at,
    )


def note(connection: Connection, letters: Letters) -> list[Outgoing]:
    """Write the newest letters and delete those that were taken back.

    Returns what takes back the letters that hold what an erased user said before the erasure.
    """
    if not letters:
        return []
    erased = forgotten(connection, {one.user_key for one in letters.values() if one and one.user_key})
    kept = [one for one in letters.values() if one is not None and not _is_erased(one, erased)]
    replace(connection, kept)
    gone = letters.keys() - {one.id for one in kept}
    for ids in chunks(gone):
        connection.execute(delete(DeadLetter).where(col(DeadLetter.id).in_(ids)))
    return [_taken_back(one) for one in letters.values() if one is not None and one.id in gone]


def erase(connection: Connection, user: str, until: datetime) -> list[Outgoing]:
    """Delete the letters that hold what a user said until a moment; what takes them back from their topics."""
    query = select(DeadLetter).where(col(DeadLetter.user_key) == user)
    gone = [one for one in Session(connection).scalars(query) if _is_erased(one, {user: until})]
    for ids in chunks(one.id for one in gone):
        connection.execute(delete(DeadLetter).where(col(DeadLetter.id).in_(ids)))
    return [_taken_back(one) for one in gone]


def _taken_back(letter: DeadLetter) -> Outgoing:
    return tombstone(letter.id, QUARANTINE if letter.quarantined else DEAD_LETTERS)


def _is_erased(letter: DeadLetter, erased: Mapping[str, datetime]) -> bool:
    """Whether an erased user said it before the erasure; so it is when nobody knows when it was said."""
    until = erased.get(letter.user_key or "")
    return until is not None and (letter.said_at is None or letter.said_at <= until)
