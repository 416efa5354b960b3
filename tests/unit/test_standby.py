"""What serves is forked from what has imported: killed, it is there again; and no signal, code or process gets lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from nemesis.installation import serving
from tests.conftest import free_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="without parent-death signals nothing is forked")
ROOT = Path(__file__).parents[2]

PROGRAM = """
import os, signal, socket, sys, time
from pathlib import Path
from shared import standby
from shared.errors import FatalError

def say(*words):
    print(*words, file=sys.stderr, flush=True)

def main():
    standby.stand_by("victim", lambda: {load})
    heard = []
    for number in standby.END:
        signal.signal(number, lambda *_: heard.append(say("heard")))
    listener = socket.create_server(("127.0.0.1", {port}))
    {serve}
    Path("serves").write_text(str(os.getpid()))
    while not heard:
        signal.pause()
    time.sleep(0.3)  # what drains is still there to hear a signal that came twice
    say("drained")

standby.YOUNG_S = {young_s}
try:
    main()
except FatalError as error:
    sys.exit(str(error))
"""


@dataclass(frozen=True)
class Victim:
    """A program that stands by: its main process, and what it said."""

    main: subprocess.Popen[bytes]
    folder: Path
    port: int

    @property
    def said(self) -> str:
        return (self.folder / "stderr").read_text()

    @property
    def serving(self) -> int:
        """The process that serves, or 0."""
        with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
            pid = int((self.folder / "serves").read_text())
            return pid if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE else 0
        return 0

    def told(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.said.splitlines() if line.startswith("{")]


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


@contextlib.contextmanager
def victim(
    folder: Path, young_s: float = 0.0, load: str = "None", serve: str = "", **settings: str
) -> Iterator[Victim]:
    port = free_port()
    program = PROGRAM.format(young_s=young_s, load=load, serve=serve, port=port)
    with (folder / "stderr").open("wb") as stderr:
        main = subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **settings},
            stderr=stderr,
            start_new_session=True,
        )
    try:
        yield Victim(main, folder, port)
    finally:
        main.kill()
        main.wait()


def is_free(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_server(("127.0.0.1", port)).close()
        return True
    return False


def test_a_killed_one_is_there_again_and_the_program_is_the_same(tmp_path: Path) -> None:
    with victim(tmp_path) as one:
        until(lambda: one.serving)
        for _ in range(3):
            before = one.serving
            assert before == serving(one.main.pid) != one.main.pid
            os.kill(before, signal.SIGKILL)
            until(lambda: one.serving not in (0, before))  # noqa: B023  (asked in this turn alone)
        assert one.told() == ["serving_process_killed"] * 3
        assert "SIGKILL" in one.said
        assert one.main.poll() is None


def test_one_that_dies_young_ends_the_program_so_that_its_supervisor_counts(tmp_path: Path) -> None:
    with victim(tmp_path, young_s=60, serve="os.kill(os.getpid(), signal.SIGSEGV)") as one:
        assert one.main.wait(20) == 128 + signal.SIGSEGV
        assert one.told() == ["serving_process_killed"]


def test_a_fatal_error_is_told_once_and_ends_the_program(tmp_path: Path) -> None:
    with victim(tmp_path, serve="raise FatalError('Nothing works. Mend it.')") as one:
        assert one.main.wait(20) == 1
        assert one.said == "Nothing works. Mend it.\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("send", [os.kill, os.killpg])
def test_asked_to_end_it_drains_once_and_ends_with_0(
    tmp_path: Path, number: signal.Signals, send: Callable[[int, int], None]
) -> None:
    with victim(tmp_path) as one:
        until(lambda: one.serving)
        send(one.main.pid, number)
        assert one.main.wait(20) == 0
        assert one.said == "heard\ndrained\n"


def test_one_that_is_killed_while_it_drains_is_not_followed_by_another(tmp_path: Path) -> None:
    with victim(tmp_path) as one:
        until(lambda: one.serving)
        os.kill(killed := one.serving, signal.SIGSTOP)
        one.main.terminate()
        os.kill(killed, signal.SIGKILL)
        assert one.main.wait(20) == 128 + signal.SIGKILL


def test_asked_to_end_while_it_imports_it_ends_at_once(tmp_path: Path) -> None:
    with victim(tmp_path, load="[say('loading'), time.sleep(60)]") as one:
        until(lambda: "loading" in one.said)
        one.main.terminate()
        assert one.main.wait(20) == 0
        assert one.said == "loading\n"


@pytest.mark.parametrize("state", [signal.SIGCONT, signal.SIGSTOP])
def test_a_killed_program_leaves_nobody_who_holds_its_port_not_even_a_frozen_one(
    tmp_path: Path, state: signal.Signals
) -> None:
    with victim(tmp_path) as one:
        until(lambda: one.serving)
        os.kill(one.serving, state)
        one.main.kill()
        until(lambda: not one.serving)
        until(lambda: is_free(one.port))


def test_a_frozen_main_process_does_no_harm(tmp_path: Path) -> None:
    with victim(tmp_path) as one:
        until(lambda: one.serving)
        one.main.send_signal(signal.SIGSTOP)
        os.kill(killed := one.serving, signal.SIGKILL)
        one.main.send_signal(signal.SIGCONT)
        until(lambda: one.serving not in (0, killed))


def test_one_that_dies_at_a_place_for_a_test_is_all_of_its_program(tmp_path: Path) -> None:
    with victim(tmp_path, LEARNBACK_CRASH_AT="victim.somewhere") as one:
        until(lambda: one.serving)
        assert one.serving == one.main.pid
