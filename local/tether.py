"""Become another program that ends when its parent ends, however the parent ends.

Run as: python -m local.tether NICE COMMAND… (NICE is added to the niceness; 0 leaves it)

A supervisor that is killed outright cannot stop its children. On Linux the kernel does: it sends SIGTERM to a process
that asked for it (PR_SET_PDEATHSIG, which survives exec) when its parent is gone. Elsewhere `local.supervise` ends what
is left.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def tethered(command: tuple[str, ...], nice: int = 0) -> tuple[str, ...]:
    """The command line that runs `command` on a tether."""
    return (sys.executable, "-m", "local.tether", str(nice), *command)


def tether() -> None:
    """Ask the kernel for SIGTERM when the parent ends; end now if it ended meanwhile."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit("The parent ended before this program began.")


if __name__ == "__main__":
    tether()
    os.nice(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
