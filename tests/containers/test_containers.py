"""From nothing: the images are what they should be, the loop closes, and no kill of any container loses an event."""

from __future__ import annotations

import asyncio
import json
import random
import shlex
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp

from local.demo.play import MODEL
from local.demo.story import HELP_DESK, read_story
from nemesis import history
from nemesis.checker import Found, check
from nemesis.client import TIMEOUT_S, Clients
from nemesis.drain import await_spool, rest
from nemesis.history import History
from nemesis.places import put_aside, stored
from nemesis.poison import Poisoner
from nemesis.story import Story
from shared.topics import DEAD_LETTERS, QUARANTINE
from tests.containers.images import ROOT, SHIPPED
from tests.containers.project import RUNNING, TAG, Project
from tests.real import questions

LM = ("trainer", "evaluator", "predictor")
PLAIN = ("collector", "recorder", "aggregator", "board", "cli")
MOST_MB = 300  # as a registry keeps and sends it: compressed
PREDICTIONS, RATE = 3000, 20.0
EVENTS_PER_S = 40.0
BACK_S = 120.0
SETTLE_S, DRAIN_S = 60.0, 180.0


def test_images_without_torch_are_small_and_all_run_as_nobody(project: Project) -> None:
    sizes = {name: _compressed_mb(f"learnback/{name}:{TAG}") for name in PLAIN}
    print(f"\nMB compressed: {sizes}; up after {project.took_s:.0f} s")
    assert max(sizes.values()) < MOST_MB
    for name in (*PLAIN, *LM):
        assert _inspected(f"learnback/{name}:{TAG}")["Config"]["User"] == "10001:10001"
        probe = "import importlib.util; raise SystemExit(importlib.util.find_spec('torch') is not None)"
        command = ["docker", "run", "--rm", "--read-only", "--network=none", "--entrypoint=python"]
        has_torch = subprocess.run([*command, f"learnback/{name}:{TAG}", "-c", probe], check=False).returncode
        assert bool(has_torch) == (name in LM)


def test_the_layer_with_torch_is_there_once(project: Project) -> None:
    base = _layers(project.variables.get("PYTHON_IMAGE", SHIPPED))
    images = [_layers(f"learnback/{name}:{TAG}") for name in LM]
    shared = [layer for layer, *others in zip(*images, strict=False) if {layer} == set(others)]
    assert len(shared) >= len(base) + 3  # certificates, user, torch
    assert min(_inspected(f"learnback/{name}:{TAG}")["Size"] for name in LM) > MOST_MB * 1e6


def test_every_service_ends_in_order_when_it_is_told_to(project: Project) -> None:
    for service in ("recorder", "aggregator", "trainer", "evaluator", "predictor", "collector", "board"):
        container = project.container(service)
        begun = time.monotonic()
        subprocess.run(["docker", "stop", "--time=30", container], check=True, capture_output=True)
        code = _inspected(container)["State"]["ExitCode"]
        print(f"{service} ended with {code} after {time.monotonic() - begun:.1f} s")
        assert (code, time.monotonic() - begun < 30) == (0, True), service
        subprocess.run(["docker", "start", container], check=True, capture_output=True)
    for service in RUNNING:
        project.await_healthy(service, -1, BACK_S)


def test_the_loop_goes_round(project: Project, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "local.demo", "--target=compose", f"--report={report}"]
    command += [f"--data={questions(tmp_path / 'data')}", f"--predictions={PREDICTIONS}", f"--rate={RATE}"]
    settings = {**project.variables, "COMPOSE": project.composed.compose}
    subprocess.run(command, cwd=ROOT, env=settings)  # so short a story need not end better than it began
    told = json.loads(report.read_text("utf-8"))
    assert (told["lost"], told["duplicates"], told["swap_failed_requests"]) == (0, 0, 0)
    assert told["promotions"] + told["rejections"] + told["inconclusive"] >= 1  # what they teach, tests/journey asks


def test_no_kill_of_any_container_loses_or_doubles_an_event(project: Project, tmp_path: Path) -> None:
    before = Counter([*stored(project.place.database), *_aside(project)])
    file = tmp_path / "history.jsonl"
    with History(file) as written:
        clients = asyncio.run(_break_under_load(project, written))
    deadline = time.monotonic() + DRAIN_S
    await_spool(project.place.collector, deadline)
    rest(project.bus, project.place.database, DRAIN_S)
    found = Counter([*stored(project.place.database), *_aside(project)]) - before
    verdict = check(history.read(file), found.elements())
    print(f"accepted {verdict.accepted}, stored {verdict.stored}, dead {verdict.dead}; {dict(clients.counts.statuses)}")
    assert verdict.accepted > 100
    assert verdict.breaches == {}
    assert _imbalance(project) == 0


async def _break_under_load(project: Project, written: History) -> Clients:
    """Kill every container once, one after the other, while clients send; returns the clients."""
    chance, over = random.Random(0), asyncio.Event()
    headers = {"Authorization": f"Bearer {project.key('shop')}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as http:
        story = Story(read_story(HELP_DESK, 2000, 0).stream, "kills", random.Random(1))
        urls = project.place.collector, project.place.predictor
        poisoner = Poisoner(project.bus, written, random.Random(2))
        clients = Clients(http, urls, written, story, poisoner, chance, EVENTS_PER_S)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(clients.play(MODEL, over))
            try:
                await asyncio.to_thread(_kill_each, project)
            finally:
                over.set()
        assert await clients.settle(SETTLE_S) == 0
    return clients


def _kill_each(project: Project) -> None:
    for service in RUNNING:
        restarts = project.starts(service)
        project.kill(service)
        print(f"{service} was killed and healthy after {project.await_healthy(service, restarts, BACK_S):.1f} s")
        threading.Event().wait(3)  # of load on what is whole again


def _aside(project: Project) -> list[Found]:
    return [*put_aside(project.bus, DEAD_LETTERS, "dead"), *put_aside(project.bus, QUARANTINE, "quarantined")]


def _imbalance(project: Project) -> float:
    """What the recorder says of the ledger: accepted less stored, dead, quarantined and pending, of all time."""
    asked = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:8711/metrics').read().decode())"
    command = ["docker", "exec", project.container("recorder"), "python", "-c", asked]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    (line,) = [line for line in lines if line.startswith('learnback_ledger_imbalance{window="all"}')]
    return float(line.split()[-1])


def _inspected(name: str) -> dict[str, Any]:
    told = json.loads(subprocess.run(["docker", "inspect", name], check=True, capture_output=True).stdout)
    found: dict[str, Any] = told[0]
    return found


def _layers(image: str) -> list[str]:
    found: list[str] = _inspected(image)["RootFS"]["Layers"]
    return found


def _compressed_mb(image: str) -> float:
    """Megabytes of all layers, as gzip makes them."""
    packed = f"docker save {shlex.quote(image)} | gzip -1 | wc -c"
    return round(int(subprocess.run(packed, shell=True, check=True, capture_output=True).stdout) / 1e6, 1)
