"""One machine's programs: kept alive, named when they fail, and gone when the stack is (by a real supervisord)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from local.control import Life
from local.layout import RunFolder, run_folder
from local.programs import Program, Stage, log_file
from local.sessions import members
from local.supervise import Stack, supervised
from shared.errors import FatalError
from tests.conftest import free_port

ANSWERS = (
    "from http.server import test, BaseHTTPRequestHandler as H;"
    "H.do_GET = lambda s: s.send_response(200) or s.end_headers(); test(H, port={port}, bind='127.0.0.1')"
)
DEADLINE_S = 30


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = run_folder(tmp_path / "run with a space")
    folder.prepare()
    return folder


def answering(name: str) -> Program:
    port = free_port()
    return Program(name, (sys.executable, "-c", ANSWERS.format(port=port)), port, probe="/readyz")


def failing(name: str, last_words: str) -> Program:
    return Program(name, (sys.executable, "-c", f"import sys; sys.exit({last_words!r})"), free_port())


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


def life(stack: Stack, name: str) -> Life:
    return next(life for life in stack.lives() if life.name == name)


def test_stages_start_in_order_and_what_dies_is_started_again(run: RunFolder) -> None:
    happened = []
    first, second = answering("first"), answering("second")
    stages = (
        Stage("one", (first,), lambda: happened.append([life(stack, name).state for name in ("first", "second")])),
        Stage("two", (second,)),
    )
    stack = Stack(run, stages, {})
    with supervised(stack):
        stack.wait_ready(DEADLINE_S)
        assert happened == [["STARTING", "STOPPED"]]
        before = life(stack, "second").pid
        os.kill(before, signal.SIGKILL)
        until(lambda: life(stack, "second").pid not in (0, before))
        session = stack.session
        assert len(members(session)) >= 3
    assert members(session) == []


def test_what_is_killed_is_started_again_within_half_a_second(run: RunFolder) -> None:
    stack = Stack(run, (Stage("one", (answering("victim"),)),), {})
    log = log_file(run, "supervisord")
    with supervised(stack):
        stack.wait_ready(DEADLINE_S)
        until(lambda: "entered RUNNING" in log.read_text())
        os.kill(life(stack, "victim").pid, signal.SIGKILL)
        until(lambda: log.read_text().count("spawned:") == 2)  # asking supervisord would wake it
    lines = log.read_text().splitlines()
    died, spawned = (
        next(line for line in reversed(lines) if what in line)[:23] for what in ("exited: victim", "spawned")
    )
    pause = datetime.fromisoformat(spawned.replace(",", ".")) - datetime.fromisoformat(died.replace(",", "."))
    assert pause < timedelta(seconds=0.5)


def test_what_survives_its_supervisor_is_ended_with_the_stack(run: RunFolder) -> None:
    stubborn = Program(
        "stubborn",
        (
            sys.executable,
            "-c",
            f"import signal; signal.signal(15, signal.SIG_IGN); {ANSWERS}".format(port=(port := free_port())),
        ),
        port,
        probe="/",
    )
    stack = Stack(run, (Stage("one", (stubborn,)),), {})
    with supervised(stack):
        stack.wait_ready(DEADLINE_S)
        session = stack.session
        os.kill(session, signal.SIGKILL)
        with pytest.raises(FatalError, match="supervisord ended"):
            stack.wait()
        assert members(session)
    assert members(session) == []


def test_a_program_that_keeps_ending_is_named_with_its_last_words(run: RunFolder) -> None:
    stack = Stack(run, (Stage("one", (failing("broken", "The disk is on fire."),)),), {})
    with supervised(stack), pytest.raises(FatalError, match=r"broken ended 3 times .* The disk is on fire\. \(log: .*"):
        stack.wait_ready(DEADLINE_S)


def test_a_program_that_never_answers_is_named(run: RunFolder) -> None:
    silent = Program("silent", (sys.executable, "-c", "import time; time.sleep(60)"), free_port())
    stack = Stack(run, (Stage("one", (silent,)),), {})
    with supervised(stack), pytest.raises(FatalError, match=r"silent is not ready in time\. It said nothing"):
        stack.wait_ready(0.5)


def test_a_port_in_use_is_one_sentence_and_nothing_starts(run: RunFolder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        stack = Stack(run, (Stage("one", (Program("collector", ("/bin/true",), port),)),), {})
        owner = rf"pid {os.getpid()} \(.*\)"
        sentence = rf"^Port {port} \(collector\) is in use by {owner}; stop that, or set LEARNBACK_COLLECTOR_PORT"
        with pytest.raises(FatalError, match=sentence), supervised(stack):
            pass
    assert not log_file(run, "supervisord").exists()


def test_a_folder_runs_once(run: RunFolder) -> None:
    with supervised(Stack(run, (), {})):
        second = Stack(run, (), {})
        with pytest.raises(FatalError, match="Another Learnback runs in"), supervised(second):
            pass


def test_a_path_that_supervisord_misreads_is_refused(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "100%")
    folder.prepare()
    with pytest.raises(FatalError, match="without '%'"), supervised(Stack(folder, (), {})):
        pass


def test_a_long_path_still_has_a_control_socket(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / ("long" * 40))
    folder.prepare()
    with supervised(Stack(folder, (), {})) as stack:
        assert stack.lives() == []


@pytest.mark.parametrize(("signals", "kills_itself"), [([2], False), ([2, 2], False), ([15], False), ([9], True)])
def test_no_process_is_left_behind(run: RunFolder, signals: list[int], kills_itself: bool) -> None:
    program = answering("first")
    script = (
        "import sys; from pathlib import Path; from local.layout import *; from local.programs import *;"
        "from local.supervise import *\n"
        f"stack = Stack(RunFolder(Path({str(run.root)!r})), (Stage('one', ({program!r},)),), {{}})\n"
        "with supervised(stack):\n"
        "    stack.wait_ready(30)\n"
        "    print(stack.session, flush=True)\n"
        "    stack.wait()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        session = int(owner.stdout.readline())
        for number in signals:
            owner.send_signal(number)
            time.sleep(0.2)
        owner.communicate(timeout=DEADLINE_S)
    if not kills_itself:
        assert members(session) == []
    until(lambda: members(session) == [])
