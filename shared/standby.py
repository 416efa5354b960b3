"""A program that is back at once: the process that serves is forked from one that has all its imports done.

torch, transformers and peft take five seconds to import: nearly all that a killed service needs to be back. So the
program's own process imports them, opens no connection, starts no thread, and forks the one that serves. When that one
is killed, the next is there in milliseconds (docs/decisions/0016). Ended in order, with whatever exit code, it ends the
program too.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable

from shared import crash
from shared.observe import start_logging

YOUNG_S = 5.0  # killed sooner than this after its fork, the next one may be too: its supervisor shall count that
PR_SET_PDEATHSIG = 1  # linux/prctl.h
END = (signal.SIGTERM, signal.SIGINT)
NEWS = (*END, signal.SIGCHLD)


def stand_by(service: str, load: Callable[[], object]) -> None:
    """Import by `load`, and return in the process that serves; the one that called stays here until the program ends.

    Threads and connections of the caller would not survive. It is one process, which just returns, where the kernel
    cannot tie a process to its parent's life (not Linux), and where a test wants to see one die at a place.
    """
    for number in END:
        signal.signal(number, lambda *_: os._exit(0))  # nothing has begun; one does not unwind out of a library's start
    load()
    if sys.platform != "linux" or crash.CRASH_AT:
        return
    log, main = start_logging(service), os.getpid()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, NEWS)  # none gets lost between two looks: `sigwait` takes them
    while (child := os.fork()) != 0:
        start = time.monotonic()
        code, asked = _await_end(child)
        if code < 0:
            log.warning("serving_process_killed", pid=child, signal=signal.Signals(-code).name)
        if code >= 0 or asked or time.monotonic() - start < YOUNG_S:
            sys.exit(code if code >= 0 else 128 - code)  # as a shell tells a signal
    _serve_until(main, before)


def _await_end(child: int) -> tuple[int, bool]:
    """How the child ended (an exit code, or a signal as a negative number), and whether it had been asked to."""
    asked = False
    while True:
        if signal.sigwait(NEWS) in END:
            asked = True
            os.kill(child, signal.SIGTERM)  # not waited for yet, so the id is still its own
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), asked


def _serve_until(main: int, mask: Iterable[int]) -> None:
    """In the child: end with the parent, however that ends, and hear signals from it alone, not twice from a group."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != main:
        os._exit(0)  # it was gone before it was asked for
    os.setpgid(0, 0)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
