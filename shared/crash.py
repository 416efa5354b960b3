"""Places where a test can kill a service, so that «after any crash» is tested at each step and not by luck.

`LEARNBACK_CRASH_AT=recorder.before_commit` makes the process kill itself (SIGKILL: nothing is flushed, nothing is
said) the first time it comes by. With `LEARNBACK_CRASH_MARK=FILE` it does so once: the file is made before, and when it
is there the place is passed. Without the variable a place costs one comparison.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

CRASH_AT = os.environ.get("LEARNBACK_CRASH_AT")
MARK = os.environ.get("LEARNBACK_CRASH_MARK")


def crash_point(name: str) -> None:
    """Die here if a test wants it."""
    if name != CRASH_AT:
        return
    if MARK is not None:
        try:
            os.close(os.open(Path(MARK), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
    os.kill(os.getpid(), signal.SIGKILL)
