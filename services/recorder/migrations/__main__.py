"""Write a revision, or take a database back to an earlier one.

python -m services.recorder.migrations write WHAT      from what the classes say now; read it and correct it: Alembic
                                                       sees neither a new name of a column nor the condition of an index
python -m services.recorder.migrations down REVISION   LEARNBACK_DATABASE_URL, before an older release is started on it
"""

from __future__ import annotations

import argparse
import sys

from alembic import command
from alembic.util import CommandError
from sqlalchemy import create_engine

from services.recorder.sql import lock
from services.recorder.tables import configured, make_tables
from shared.settings import Platform, load
from shared.tables import open_database
from shared.tables.release import RELEASE


def write(what: str) -> None:
    """Compare the classes with an empty database of the newest revision, and write what is between them."""
    with create_engine("sqlite://").connect() as connection:
        make_tables(connection)
        command.revision(configured(connection), what, autogenerate=True, rev_id=f"{int(RELEASE) + 1:04}")


def down(revision: str) -> None:
    """Undo the revisions after this one, all of them or none, while no recorder is at work."""
    with open_database(load(Platform).database).connect() as connection:
        lock(connection)
        command.downgrade(configured(connection), revision)
        connection.commit()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=("write", "down"))
    parser.add_argument("what")
    asked = parser.parse_args()
    try:
        (write if asked.do == "write" else down)(asked.what)
    except CommandError as error:
        sys.exit(f"{error}.")
