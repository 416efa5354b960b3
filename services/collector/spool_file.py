"""The spool's file: SQLite, since torn writes, a full disk and order are solved there (decision 0010).

`max_page_count` is the limit, so that full is an error that undoes the whole transaction. `secure_delete` overwrites
what is deleted. The lock is exclusive: two collectors on one file would drain it twice and out of order.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.crash import crash_point
from shared.envelope import Outgoing
from shared.errors import FatalError, UnavailableError, UnconfirmedError
from shared.topics import TOPICS

PAGE_BYTES = 4096
# Held free of a disk that becomes full, since SQLite needs room to delete: its journal grows to 1,000 pages before it
# is written back, and then a few rows at a time.
RESERVE_BYTES = 5 * 1024 * 1024
FEW = 50
HEAD_BYTES = 4 * 1024 * 1024  # what one round of draining holds in memory
TABLE = """
CREATE TABLE IF NOT EXISTS spool (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, key BLOB NOT NULL, value BLOB,
    headers TEXT NOT NULL, user_key TEXT, at REAL NOT NULL
)"""
_INSERT = "INSERT INTO spool (topic, key, value, headers, user_key, at) VALUES (?, ?, ?, ?, ?, ?)"
_EMPTY = "UPDATE spool SET value = NULL, user_key = NULL WHERE user_key = ?"
_HEAD = "SELECT seq, topic, key, value, headers FROM spool ORDER BY seq LIMIT ?"
_TOPICS = {topic.name: topic for topic in TOPICS}
Row = tuple[str, bytes, bytes | None, str, str | None, float]


@dataclass(frozen=True)
class Spooled:
    """One event in the spool."""

    seq: int
    record: Outgoing


def row(record: Outgoing, user_key: str | None, at: float) -> Row:
    """What is kept of a record: all of it, whose it is, and since when (seconds since 1970)."""
    headers = json.dumps([(name, value.decode()) for name, value in record.headers])
    return record.topic.name, record.key, record.value, headers, user_key, at


class SpoolFile:
    """The open file. Used by one thread."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        """Open the file, or make it.

        Raises:
            FatalError: it is damaged, another process has it, or its folder cannot be written.
        """
        try:
            self._db = _open(path, limit_bytes)
        except (OSError, sqlite3.Error) as error:
            raise FatalError(
                f"The spool {path} cannot be used ({error}). Is another collector on it, or the folder read-only? A"
                " damaged one must be moved away: events in it have been acknowledged and are not in Kafka yet."
            ) from None
        self._reserve = path.with_name(f"{path.name}.reserve")
        self._hold()

    @property
    def events(self) -> int:
        """How many events are kept."""
        return int(self._one("SELECT count(*) FROM spool"))

    @property
    def pages(self) -> int:
        """Pages in use."""
        return int(self._one("PRAGMA page_count")) - int(self._one("PRAGMA freelist_count"))

    @property
    def fullness(self) -> float:
        """Pages in use, of those that there may be."""
        return self.pages / int(self._one("PRAGMA max_page_count"))

    @property
    def oldest(self) -> float | None:
        """When the oldest event came."""
        found = self._db.execute("SELECT at FROM spool ORDER BY seq LIMIT 1").fetchone()
        return None if found is None else float(found[0])

    def keep(self, rows: Iterable[Row]) -> None:
        """Make all rows durable with one fsync, or keep none.

        Raises:
            UnavailableError: no room in the file or on the disk, or the disk failed: nothing is kept.
            UnconfirmedError: the disk failed while it confirmed; a crash now may bring them back.
        """
        if not self._held:
            raise UnavailableError("The spool's disk is full; send it again when Kafka is back.")
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(_INSERT, rows)
            crash_point("collector.mid_spool_append")
        except sqlite3.Error as error:
            self._roll_back()
            raise UnavailableError(_sentence(error)) from error
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            # What does not fit is told before the frame that makes a commit is whole; any other failure may come after.
            failure = UnavailableError if _is_full(error) else UnconfirmedError
            raise failure(_sentence(error)) from error

    def head(self, count: int) -> list[Spooled]:
        """The oldest events, in the order in which they came; fewer than `count` when they are large."""
        taken: list[Spooled] = []
        size = 0
        for found in self._db.execute(_HEAD, (count,)):
            taken.append(_spooled(*found))
            size += taken[-1].record.size
            if size > HEAD_BYTES:
                break
        return taken

    def remove(self, spooled: Sequence[Spooled]) -> int:
        """Take out what `head` gave, on a full disk too; returns how many were still there."""
        try:
            return self._remove(spooled)
        except sqlite3.Error as error:
            if not _is_full(error):
                raise
        self._let_go()
        removed = 0
        for start in range(0, len(spooled), FEW):
            removed += self._remove(spooled[start : start + FEW])
            self._truncate_journal()
        return removed

    def _remove(self, spooled: Sequence[Spooled]) -> int:
        bounds = (spooled[0].seq, spooled[-1].seq)
        removed = self._db.execute("DELETE FROM spool WHERE seq BETWEEN ? AND ?", bounds).rowcount
        if self.oldest is None:
            self._truncate_journal()  # nothing of what was here stays on the disk
            self._recover()
        return removed

    def erase(self, user_key: str) -> int:
        """Empty a user's events, with every byte of them in the file and in its journal; returns how many.

        What was accepted still arrives, without a word of it: the ledger counts it as erased and not as lost.
        """
        erased = self._db.execute(_EMPTY, (user_key,)).rowcount
        self._truncate_journal()
        return erased

    def close(self) -> None:
        """Write the journal back and close."""
        self._db.close()

    def _hold(self) -> None:
        """Take the reserve. Without it nothing is kept: what cannot be drained must not grow."""
        try:
            if not self._reserve.exists() or self._reserve.stat().st_size != RESERVE_BYTES:
                self._reserve.write_bytes(bytes(RESERVE_BYTES))
            self._held = True
        except OSError:
            self._reserve.unlink(missing_ok=True)
            self._held = False

    def _recover(self) -> None:
        """When all is drained: give back what the file took of a full disk, and hold the reserve again."""
        if not self._held:
            self._db.execute("VACUUM")
            self._truncate_journal()
            self._hold()

    def _let_go(self) -> None:
        self._reserve.unlink(missing_ok=True)
        self._held = False
        self._truncate_journal()

    def _truncate_journal(self) -> None:
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("ROLLBACK")

    def _one(self, query: str) -> Any:
        return self._db.execute(query).fetchone()[0]


def _open(path: Path, limit_bytes: int) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # users' words: the owner's alone
    db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
            db.execute(f"PRAGMA {pragma}").fetchall()
        db.execute(f"PRAGMA max_page_count={max(8, limit_bytes // PAGE_BYTES)}").fetchall()
        db.execute(TABLE)
        db.execute("UPDATE spool SET at = at WHERE 0")  # takes the lock now, not at the first outage
    except sqlite3.Error:
        db.close()
        raise
    return db


def _spooled(seq: int, topic: str, key: bytes, value: bytes | None, headers: str) -> Spooled:
    named = [(name, told.encode()) for name, told in json.loads(headers)]
    return Spooled(seq, Outgoing(_TOPICS[topic], key, value, named))


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


def _sentence(error: sqlite3.Error) -> str:
    what = "is full" if _is_full(error) else f"failed ({getattr(error, 'sqlite_errorname', type(error).__name__)})"
    return f"Kafka is away and the spool {what}; send it again."
