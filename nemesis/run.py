"""One run from the first process to the report: install, load, break, drain, check."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from local.demo.place import on_this_machine
from local.demo.play import add_model
from local.demo.story import HELP_DESK, read_story
from local.layout import environment
from nemesis import history
from nemesis.checker import check
from nemesis.client import AT_ONCE, TIMEOUT_S, Clients
from nemesis.drain import drain, rest
from nemesis.faults import Breaker
from nemesis.history import History
from nemesis.hostile import attacked
from nemesis.installation import POLICY, Installation, installed
from nemesis.places import places, spooled
from nemesis.poison import Poisoner
from nemesis.report import Load, report
from nemesis.story import Story

APP, MODEL = "shop", "nemesis"
SETTLE_S, DRAIN_S = 120.0, 240.0
LINE_EVERY_S = 10.0


@dataclass(frozen=True)
class Plan:
    """What is asked for."""

    minutes: float
    seed: int
    rate: float
    fault_every_s: float
    cases: int


def run(plan: Plan, folder: Path) -> dict[str, Any]:
    """Do all of it in a folder; returns the report.

    Raises:
        FatalError: the installation did not start.
    """
    file = folder / "history.jsonl"
    story = read_story(HELP_DESK, 2000, plan.seed)
    with installed(folder / "run") as here:
        key = here.key(APP)
        add_model(on_this_machine(here.run, here.ports), MODEL, story, key)
        breaker = Breaker(here, random.Random(f"{plan.seed}/faults"), plan.fault_every_s)
        with History(file) as written:
            clients, unknown = asyncio.run(_load(plan, here, key, written, breaker, list(story.stream)))
        drained = drain(here, DRAIN_S)
        print(drained.problem or f"Drained after {drained.seconds:.0f} s.", flush=True)
        found = places(here)
        hostile = attacked(here, key, plan.cases, plan.seed)
        is_equal = replayed(here, folder)
    verdict = check(history.read(file), [*found, *spooled(here.run.spool_file)])
    counts = clients.counts
    load = Load(
        minutes=plan.minutes,
        seed=plan.seed,
        attempts=counts.attempts,
        repeats=counts.repeats,
        poison=counts.poison,
        drain=drained,
        answers=dict(sorted(counts.statuses.items())),
        unknown=unknown,
        unknown_resolved=unknown - len(verdict.unresolved),
    )
    return report(load, verdict, breaker.faults, hostile, is_equal)


def replayed(here: Installation, folder: Path) -> bool | None:
    """Whether a replay of the log, by the command, gives the live database's digest; None when it fails.

    The loop goes on by its clock, and the aggregator may be behind: whoever writes is ended first, and what was written
    is recorded.
    """
    for name, program in here.programs.items():
        if name not in ("kafka", "recorder"):
            here.stack.end(program)
    rest(here.bus, here.run.database_url, DRAIN_S)
    settings = {**os.environ, **environment(here.run, here.ports), "LEARNBACK_POLICY_FILE": str(POLICY)}
    told = []
    for command in (["digest"], ["replay", "--into", f"sqlite:///{folder / 'replayed.db'}"]):
        done = subprocess.run([sys.executable, "-m", "cli", *command], env=settings, capture_output=True, text=True)
        if done.returncode:
            print(f"learnback {command[0]} failed: {done.stderr.strip()[-500:]}", flush=True)
            return None
        told.append(done.stdout.strip().splitlines()[-1])
    live, replay = told
    return live == replay


async def _load(
    plan: Plan, here: Installation, key: str, written: History, breaker: Breaker, rows: list[Any]
) -> tuple[Clients, int]:
    """Load and break for the time that was asked for; returns the clients, and how many units were ever unknown."""
    chance = random.Random(f"{plan.seed}/clients")
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    stopping, over = threading.Event(), asyncio.Event()
    async with aiohttp.ClientSession(
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        connector=aiohttp.TCPConnector(limit=AT_ONCE),
    ) as http:
        poisoner = Poisoner(here.bus, written, random.Random(f"{plan.seed}/poison"))
        urls = here.ports.url("collector"), here.ports.url("predictor")
        story = Story(rows, f"{plan.seed:x}", random.Random(f"{plan.seed}/story"))
        clients = Clients(http, urls, written, story, poisoner, chance, plan.rate)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(clients.play(MODEL, over))
            breaking = tasks.create_task(asyncio.to_thread(breaker.run, stopping))
            await _watch(plan, clients, breaker)
            stopping.set()
            await breaking
            over.set()
        await clients.settle(SETTLE_S)
    return clients, clients.counts.unknown


async def _watch(plan: Plan, clients: Clients, breaker: Breaker) -> None:
    start = time.monotonic()
    while (passed := time.monotonic() - start) < plan.minutes * 60:
        await asyncio.sleep(min(LINE_EVERY_S, plan.minutes * 60 - passed))
        counts = clients.counts
        slow = max((fault.recovery_s or 0.0 for fault in breaker.faults), default=0.0)
        print(
            f"{time.monotonic() - start:5.0f} s  {counts.attempts:,} tried, {len(counts.accepted):,} accepted,"
            f" {counts.repeats:,} repeats, {len(breaker.faults)} faults, slowest recovery {slow:.1f} s",
            flush=True,
        )
