"""The digest of all that was recorded: equal databases have equal digests, however they came about.

Left out is what tells how events came, not what is known: `consumed` and `attempt` (a replay may stand elsewhere),
`ledger` (it counts in which order things came), and `receipt` (a replay that knows of an erasure stores nothing that it
could then erase and count). No table holds the time of recording.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime

from sqlalchemy import Connection, Engine, select
from sqlmodel import SQLModel

from schemas.events import in_utc
from shared.tables import Attempt, Consumed, LedgerRow, Receipt

LEFT_OUT = {table.__tablename__ for table in (Attempt, Consumed, LedgerRow, Receipt)}


def digest(engine: Engine) -> str:
    """SHA-256 over every row of every table, tables by name and rows by primary key."""
    with engine.connect() as connection:
        return digest_in(connection)


def digest_in(connection: Connection) -> str:
    """The same, of what a transaction sees."""
    whole = hashlib.sha256()
    for name, table in sorted(SQLModel.metadata.tables.items()):
        if name in LEFT_OUT:
            continue
        rows = connection.execute(select(table)).mappings()
        keys = [column.name for column in table.primary_key.columns]
        lines = sorted((json.dumps([_plain(row[key]) for key in keys]), _line(dict(row))) for row in rows)
        for _, line in lines:
            whole.update(f"{name}\t{line}\n".encode())
    return whole.hexdigest()


def _line(row: dict[str, object]) -> str:
    return json.dumps({key: _plain(value) for key, value in row.items()}, sort_keys=True)


def _plain(value: object) -> object:
    return in_utc(value) if isinstance(value, datetime) else value
