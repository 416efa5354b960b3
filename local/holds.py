"""What a run takes for itself before anything starts: its ports, its folder, and a path for the control socket."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.layout import HOST, RunFolder
from local.programs import Program
from local.sessions import port_in_use
from shared.errors import FatalError

SOCKET_BYTES = 90  # the kernel takes 108 (104 on macOS), and supervisord first binds PATH.PID


def check_ports(program: Program) -> None:
    """See that nobody listens where a program is to.

    Raises:
        FatalError: names the port, who holds it, and what to do.
    """
    for port in (program.port, *program.more_ports):
        if owner := port_in_use(HOST, port):
            raise FatalError(
                f"Port {port} ({program.name}) is in use by {owner}; stop that, or set"
                f" LEARNBACK_{program.name.upper()}_PORT to a free one."
            )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, which the kernel lets go when this process ends.

    Raises:
        FatalError: another process holds it.
    """
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FatalError(f"Another Learnback runs in {path.parent}; stop it, or use another folder.") from None
        yield


def clear(run: RunFolder) -> None:
    """Remove what an earlier run left in its folder.

    Raises:
        FatalError: another process runs there.
    """
    if run.root.exists():
        with locked(run.root / "lock"):
            for path in run.root.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != "lock":
                    path.unlink()


@contextmanager
def control_socket(root: Path) -> Iterator[Path]:
    """A path for supervisord's socket: in the run folder, or in a temporary one where that path is too long."""
    path = root / "supervisor.sock"
    if len(os.fsencode(path)) <= SOCKET_BYTES:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="learnback-") as folder:
        yield Path(folder) / "supervisor.sock"
