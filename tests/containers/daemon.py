"""The Docker daemon that answers; or, for root where none runs, Debian's, started for the time of the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NEEDED = {"dockerd": "docker.io", "docker-compose": "docker-compose"}
START_S = 60


class UnableError(Exception):
    """Why containers cannot be run here."""


@contextmanager
def docker_daemon() -> Iterator[None]:
    """Have a daemon answer until the block ends.

    Raises:
        UnableError: none answers and none can be started; says why.
    """
    if not _answers():
        if os.geteuid():
            raise UnableError("no Docker daemon answers, and only root can start one.")
        _install([package for program, package in NEEDED.items() if not shutil.which(program)])
    elif not _has_compose():
        if os.geteuid():
            raise UnableError("neither `docker compose` nor `docker-compose` is installed.")
        _install([NEEDED["docker-compose"]])
    if _answers():
        yield
        return
    with _started():
        yield


def _answers() -> bool:
    return bool(shutil.which("docker")) and not subprocess.run(["docker", "info"], capture_output=True).returncode


def _has_compose() -> bool:
    known = not subprocess.run(["docker", "compose", "version"], capture_output=True).returncode
    return known or bool(shutil.which("docker-compose"))


def _install(packages: list[str]) -> None:
    if packages and not install(*packages):
        raise UnableError(f"no Docker daemon answers, and {', '.join(packages)} cannot be installed.")


def install(*packages: str) -> bool:
    """Install Debian's packages; false where that is no Debian, or its mirror is away."""
    if not shutil.which("apt-get"):
        return False
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", *packages]):
        if subprocess.run(command, env=quiet, stdin=subprocess.DEVNULL, capture_output=True).returncode:
            return False
    return True


@contextmanager
def _started() -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "dockerd.log"
        with log.open("wb") as file:
            daemon = subprocess.Popen(["dockerd"], stdout=file, stderr=file, start_new_session=True)
        try:
            deadline = time.monotonic() + START_S
            while not _answers():
                if daemon.poll() is not None or time.monotonic() > deadline:
                    last = (log.read_text("utf-8", "replace").strip().splitlines() or ["it said nothing"])[-1]
                    raise UnableError(f"dockerd does not start here: {last[-300:]}")
                time.sleep(0.3)
            yield
        finally:
            daemon.terminate()
            daemon.wait(60)
