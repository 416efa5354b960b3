"""Evaluator and predictor as users run them: what serves is killed, then the program, and nothing is in the way."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from nemesis.installation import serving
from schemas.events import VerdictReached
from shared.identity import Keyring, create_secret, read_secret
from shared.kafka import Bus
from shared.policy import PolicyFile
from shared.standby import YOUNG_S
from tests.crash.scene import Scene, until
from tests.kafka.evaluators import candidate, first
from tests.kafka.models_topic import publish
from tests.kafka.stage import Stage, staged
from tests.weights import MODEL, ROWS, make_version

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.timeout(240),
    pytest.mark.skipif(sys.platform != "linux", reason="without parent-death signals nothing is forked"),
]
Work = Callable[[], object]


@contextlib.contextmanager
def candidates(scene: Scene) -> Iterator[Work]:
    """An evaluator's work: a candidate gets its verdict, each time another one."""
    with staged(scene.bus, scene.folder, PolicyFile()) as stage:
        versions = iter([first(stage), make_version(stage.artifacts, ROWS[:-1], model=MODEL)])

        def work() -> None:
            version = next(versions)
            stage.database.record(candidate(version))
            stage.publish(candidate(version))
            until(lambda: version.id in judged(stage), "the candidate is judged")

        yield work


def judged(stage: Stage) -> list[str]:
    return [verdict.candidate for verdict in stage.of(VerdictReached)]


@contextlib.contextmanager
def questions(scene: Scene) -> Iterator[Work]:
    """A predictor's work: the champion answers."""
    create_secret(scene.folder / "secret")
    key = Keyring(scene.folder / "keys.json", read_secret(scene.folder / "secret")).create("shop")
    with staged(scene.bus, scene.folder, PolicyFile()) as stage:
        publish(scene.bus, make_version(stage.artifacts, ROWS).champion())
    headers = {"Authorization": f"Bearer {key}"}

    def answers() -> bool:
        with contextlib.suppress(httpx.TransportError):
            body = {"model": MODEL, "input": "where is my parcel"}
            url = f"{scene.url('predictor')}/v1/predict"
            return httpx.post(url, json=body, headers=headers, timeout=5).status_code == httpx.codes.OK
        return False

    yield lambda: until(answers, "the champion answers")


WORK = {"evaluator": candidates, "predictor": questions}


def settled(process: subprocess.Popen[bytes]) -> int:
    """The serving process of a program that works, when its end is no failed start any more."""
    deadline = time.monotonic() + YOUNG_S
    until(lambda: time.monotonic() > deadline, "it is old enough")
    forked = serving(process.pid)
    assert forked != process.pid
    return forked


@pytest.mark.parametrize("service", WORK)
def test_a_killed_one_works_again_and_a_killed_program_leaves_nothing_behind(
    service: str, bus: Bus, tmp_path: Path
) -> None:
    scene = Scene(bus, tmp_path)
    with WORK[service](scene) as work:
        with scene.running(service) as process:
            work()
            os.kill(killed := settled(process), signal.SIGKILL)
            until(lambda: not psutil.pid_exists(killed), "it is gone")
            work()
            inner = serving(process.pid)
            assert inner not in (process.pid, killed)
            assert process.poll() is None
            process.kill()
            until(lambda: not psutil.pid_exists(inner), "nobody serves whose program was killed")
        with scene.running(service) as process:
            until(lambda: scene.answers(service), "the port was free")
            process.terminate()
            assert process.wait(30) == 0
        assert (tmp_path / f"{service}.log").read_text().count("serving_process_killed") == 1


@pytest.mark.parametrize("service", WORK)
def test_a_wrong_setting_is_one_sentence_before_anything_is_imported(service: str, bus: Bus, tmp_path: Path) -> None:
    scene = Scene(bus, tmp_path)
    with scene.running(service, **{f"LEARNBACK_{service.upper()}_THREADS": "many"}) as process:
        assert process.wait(30) == 1
    [sentence] = (tmp_path / f"{service}.log").read_text().splitlines()
    assert f"LEARNBACK_{service.upper()}_THREADS" in sentence
