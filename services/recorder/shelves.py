"""What was put aside, as rows: the newest letter of each record, but for those of users who asked to be forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import Connection, delete
from sqlmodel import col

from services.recorder.sql import chunks, replace
from shared.letters import Letter
from shared.tables import DeadLetter

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


def note(connection: Connection, letters: Letters, erased: Mapping[str, datetime]) -> list[DeadLetter]:
    """Write the newest letters and delete those that were taken back.

    `erased` tells until when each erased user is forgotten. Returns the letters that must be taken back: what such a
    user said until then.
    """
    kept = [one for one in letters.values() if one is not None and not _is_erased(one, erased)]
    replace(connection, kept)
    gone = letters.keys() - {one.id for one in kept}
    for ids in chunks(gone):
        connection.execute(delete(DeadLetter).where(col(DeadLetter.id).in_(ids)))
    return [one for one in letters.values() if one is not None and one.id in gone]


def users(letters: Iterable[DeadLetter | None]) -> set[str]:
    """The users whose words are in the letters."""
    return {one.user_key for one in letters if one is not None and one.user_key is not None}


def _is_erased(letter: DeadLetter, erased: Mapping[str, datetime]) -> bool:
    """Whether an erased user said it before the erasure; so it is when nobody knows when it was said."""
    until = erased.get(letter.user_key or "")
    return until is not None and (letter.said_at is None or letter.said_at <= until)
