"""A Postgres of its own in a temporary folder, from the binaries that Debian installs: for tests and benches.

Postgres refuses to run as root, so root starts it as the user `postgres` that the package makes.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from local.layout import HOST
from local.readiness import last_words
from shared.errors import FatalError

INSTALLED = Path("/usr/lib/postgresql")
START_S = 30
STOP_S = 20


def binaries() -> Path | None:
    """Where the newest installed Postgres has its programs; None without one."""
    found = [folder / "bin" for folder in INSTALLED.glob("*") if (folder / "bin" / "postgres").exists()]
    return max(found, key=lambda folder: int(folder.parent.name), default=None)


@contextmanager
def postgres(port: int) -> Iterator[str]:
    """Make a cluster in a new folder, run it on loopback while the block lasts, and give the URL of its database.

    Raises:
        FatalError: Postgres is not installed, or does not start.
    """
    programs = binaries()
    if programs is None:
        raise FatalError(f"There is no Postgres in {INSTALLED}. Install it (Debian: apt install postgresql).")
    user = "postgres" if os.geteuid() == 0 else None
    with TemporaryDirectory(prefix="learnback-postgres-") as name:
        folder, owner = Path(name), user or getpass.getuser()
        shutil.chown(folder, owner)
        log = folder / "postgres.log"
        _run([f"{programs}/initdb", "-D", f"{folder}/data", "-A", "trust", "-U", owner, "-E", "UTF8"], user, log)
        options = [f"listen_addresses={HOST}", f"port={port}", f"unix_socket_directories={folder}"]
        command = [f"{programs}/postgres", "-D", f"{folder}/data", *[part for one in options for part in ("-c", one)]]
        with log.open("ab") as file:
            server = subprocess.Popen(command, user=user, stdout=file, stderr=file, cwd=folder)
        try:
            _await(server, [f"{programs}/pg_isready", "-q", "-h", HOST, "-p", str(port)], log)
            yield f"postgresql+psycopg://{owner}@{HOST}:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)  # «fast»: open connections are ended
            server.wait(STOP_S)


def _run(command: Sequence[str], user: str | None, log: Path) -> None:
    with log.open("ab") as file:
        if subprocess.run(command, user=user, stdout=file, stderr=file, cwd=log.parent).returncode:
            raise FatalError(f"Postgres could not make a cluster. {last_words(log)}")


def _await(server: subprocess.Popen[bytes], question: Sequence[str], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while subprocess.run(question).returncode:
        if server.poll() is not None or time.monotonic() > deadline:
            raise FatalError(f"Postgres does not start. {last_words(log)}")
        time.sleep(0.1)
