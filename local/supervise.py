"""Everything of one machine, kept alive by supervisord: started in order, watched until ready, stopped without a rest.

supervisord runs in a session of its own, so that Ctrl-C reaches only us and we stop it in order. Everything it starts
stays in that session, whatever becomes of supervisord itself: that is how `stop` finds what is left.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from local.cache import kafka_jars
from local.control import Control, Life
from local.holds import check_ports, control_socket, locked
from local.interrupts import ending, hurrying
from local.layout import Ports, RunFolder, environment
from local.programs import STOP_S, Program, Stage, configuration, log_file, stages
from local.readiness import is_ready, last_words
from local.sessions import TERM_S, end_session
from local.tether import tethered
from local.watch import Watch
from shared.errors import FatalError

CONTROL_S = 15
MAX_STARTS = 3  # a program that has ended that often before it was ready will not come
TURN_S = 0.1


class Stack:
    """The programs of one machine. Start it in the main thread: the kernel ties them to the thread that starts them."""

    def __init__(self, run: RunFolder, stages: tuple[Stage, ...], environment: dict[str, str]) -> None:
        """Describe what to run, in which order, and with which variables over the shell's own."""
        self._run = run
        self._stages = stages
        self._environment = {**os.environ, **environment}
        self._held = ExitStack()
        self._supervisord: subprocess.Popen[bytes] | None = None
        self._control: Control | None = None

    @property
    def session(self) -> int:
        """The session that every process of this stack belongs to."""
        assert self._supervisord is not None, "start() comes first"
        return self._supervisord.pid

    def end(self, program: Program) -> None:
        """Stop one program for good, as SIGTERM does."""
        assert self._control is not None, "start() comes first"
        stage = next(stage.name for stage in self._stages if program.name in {one.name for one in stage.programs})
        self._control.stop(f"{stage}:{program.name}")

    def lives(self) -> list[Life]:
        """How every program does now."""
        assert self._control is not None, "start() comes first"
        return self._control.lives()

    def start(self) -> None:
        """Start supervisord; the programs wait for `wait_ready`.

        Raises:
            FatalError: another Learnback runs in the folder, a port is in use, or supervisord does not answer.
        """
        self._held.enter_context(locked(self._run.root / "lock"))
        for program in self._programs():
            check_ports(program)
        socket = self._held.enter_context(control_socket(self._run.root))
        config = self._run.root / "supervisord.conf"
        config.write_text(configuration(self._run, self._stages, socket), "utf-8")
        self._supervisord = self._spawn(config)
        self._control = Control(socket)
        deadline = time.monotonic() + CONTROL_S
        while not self._control.answers():
            if self._supervisord.poll() is not None or time.monotonic() > deadline:
                raise self._failure("supervisord", "did not start")
            time.sleep(TURN_S)

    def wait_ready(self, timeout_s: float = 120) -> None:
        """Start the stages, each when the one before is ready.

        Raises:
            FatalError: a program is not ready in time or keeps ending; names it, with the last line of its log.
        """
        assert self._control is not None, "start() comes first"
        deadline = time.monotonic() + timeout_s
        with Watch(program.name for program in self._programs()) as watch:
            for stage in self._stages:
                self._control.start(stage.name)
                for program in stage.programs:
                    watch.started(program.name)
                self._await(stage, watch, deadline)
                stage.then()

    def wait(self) -> None:
        """Block for as long as supervisord runs.

        Raises:
            FatalError: it ended without being asked to.
        """
        assert self._supervisord is not None, "start() comes first"
        self._supervisord.wait()
        raise self._failure("supervisord", "ended")

    def stop(self) -> None:
        """Stop the stages, the last first, then whatever is left in the session. Ctrl-C meanwhile kills at once."""
        if self._supervisord is not None:
            with hurrying() as hurry:
                self._supervisord.terminate()
                deadline = time.monotonic() + len(self._stages) * STOP_S + TERM_S
                while self._supervisord.poll() is None and time.monotonic() < deadline and not hurry.is_set():
                    time.sleep(TURN_S)
                end_session(self.session, patience_s=0 if hurry.is_set() else TERM_S)
                self._supervisord.wait()
            self._supervisord = None
        self._held.close()

    def _programs(self) -> list[Program]:
        return [program for stage in self._stages for program in stage.programs]

    def _spawn(self, config: Path) -> subprocess.Popen[bytes]:
        command = tethered((sys.executable, "-m", "local.supervisord", "-n", "-c", str(config)))
        with log_file(self._run, "supervisord").open("ab") as log:
            return subprocess.Popen(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # supervisord repeats there what it logs
                stderr=log,
                start_new_session=True,
            )

    def _await(self, stage: Stage, watch: Watch, deadline: float) -> None:
        pending = {program.name: program for program in stage.programs}
        while pending:
            for program in [program for program in pending.values() if is_ready(program)]:
                watch.ready(program.name)
                del pending[program.name]
            for life in self.lives():
                if life.name in pending:
                    watch.starts(life.name, life.starts)
                    if life.state == "FATAL" or life.starts > MAX_STARTS:
                        raise self._failure(life.name, f"ended {MAX_STARTS} times before it was ready")
            if pending and time.monotonic() > deadline:
                raise self._failure(next(iter(pending)), "is not ready in time")
            time.sleep(TURN_S)

    def _failure(self, program: str, what: str) -> FatalError:
        return FatalError(f"{program} {what}. {last_words(log_file(self._run, program))}")


@contextmanager
def running(run: RunFolder, ports: Ports, variables: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """The whole of Learnback on this machine, until the block ends, however it ends.

    `variables` are more settings for all services, such as LEARNBACK_POLICY_FILE.

    Raises:
        FatalError: as `Stack.start`; or the Kafka cache is corrupt, or empty without a network.
    """
    kafka_jars()
    run.prepare()
    with supervised(Stack(run, stages(run, ports), {**environment(run, ports), **(variables or {})})) as stack:
        yield stack


@contextmanager
def supervised(stack: Stack) -> Iterator[Stack]:
    """A stack that is started, and is stopped when the block ends, by itself, by an error or by a signal."""
    with ending():
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()
