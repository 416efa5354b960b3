"""One demo from the first version to the report. It starts no step of the loop: it adds a model, asks, and says."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from dataclasses import dataclass

import httpx
from learnback import AsyncClient
from rich.console import Console
from sqlalchemy import Engine

from cli.progress import LiveBar, describe_steps
from local.demo.place import Place
from local.demo.report import Report
from local.demo.scenarios import INTENT
from local.demo.stored import labels_of, training_speed, wait_stored
from local.demo.story import Story, write_rows
from local.demo.users import Traffic, Users
from services.board.velocity import velocity
from services.trainer.reports import Progress
from shared.artifacts import ArtifactStore
from shared.errors import FatalError
from shared.policy import read_policy
from shared.tables import open_database

MODEL, BASE = "demo", INTENT.base
STORED_S = 60.0
SERVED_S = 30.0
LINE_EVERY_S = 10.0


@dataclass(frozen=True)
class Play:
    """What is played, and where; `key` is of the app whose name is the model's."""

    place: Place
    key: str
    story: Story
    seed: int
    rate: float


def play(demo: Play, console: Console) -> Report:
    """Add the model, let the users ask, and report.

    Raises:
        FatalError: the model does not come to serve.
    """
    start = time.monotonic()
    first = add_model(demo.place, MODEL, demo.story, demo.key)
    traffic = asyncio.run(_ask(demo, console))
    engine = open_database(demo.place.database)
    return _report(demo, first, traffic, engine, console, start)


def add_model(place: Place, model: str, story: Story, key: str) -> str:
    """Make v0, as a person does: by the command. Returns its version as soon as the predictor serves it.

    Raises:
        FatalError: it does not come to serve.
    """
    examples, anchor = place.folder / f"{model}-examples.jsonl", place.folder / f"{model}-anchor.jsonl"
    task = story.scenario.task
    write_rows(examples, story.seeds, task)
    write_rows(anchor, story.anchor, task)
    command = [sys.executable, "-m", "cli", "models", "add", model, "--task", task, "--base", story.scenario.base]
    command += ["--examples", str(examples), "--anchor", str(anchor)]
    settings = {"LEARNBACK_COLLECTOR_URL": place.collector, "LEARNBACK_KEY": place.reviewer_key}
    if subprocess.run(command, env={**os.environ, **place.variables, **settings}).returncode:
        raise FatalError(f"The first version did not come to serve. See the logs: {place.logs}")
    deadline = time.monotonic() + SERVED_S
    with httpx.Client(base_url=place.predictor, headers={"Authorization": f"Bearer {key}"}) as http:
        while time.monotonic() < deadline:
            response = http.get("/v1/models")
            served = response.json() if response.is_success else []
            if versions := [str(one["version"]) for one in served if one["model"] == model]:
                return versions[0]
            time.sleep(0.1)
    raise FatalError(f"The predictor does not serve {model}.")


async def _ask(demo: Play, console: Console) -> Traffic:
    total, recent = len(demo.story.stream), demo.story.scenario.last // 2
    every = max(1, demo.story.scenario.last // 50)  # what is shown has to be counted
    with LiveBar("users", console, line_every_s=LINE_EVERY_S) as bar:

        def show(traffic: Traffic) -> None:
            if traffic.asked % every == 0:
                bar.show(traffic.asked, total, _describe(traffic, total, recent))

        place, patience = demo.place, demo.story.scenario.patience
        async with AsyncClient(place.collector, demo.key, predictor_url=place.predictor, timeout=patience) as client:
            users = Users(client, MODEL, demo.story, demo.seed, show)
            traffic = await users.play(demo.rate)
        bar.show(total, total, _describe(traffic, total, recent), is_news=True)
    return traffic


def _describe(traffic: Traffic, total: int, recent: int) -> str:
    right = traffic.accuracy(traffic.asked - recent, traffic.asked)
    return (
        f"{traffic.asked:,} of {total:,} asked, {len(traffic.said):,} said something, {right:.1%} of the last {recent}"
        f" right, {len(traffic.versions) - 1} promotions"
    )


def _report(demo: Play, first: str, traffic: Traffic, engine: Engine, console: Console, start: float) -> Report:
    from local.demo.ceiling import joint_accuracy, lessons_of, version_accuracy  # it takes seconds to import torch

    story, played, end = demo.story, demo.story.scenario, len(traffic.answers)
    last = played.last
    stored = wait_stored(engine, MODEL, traffic, STORED_S)
    test = story.stream[-last:]
    lessons = lessons_of(engine, MODEL, story.stream[:-last], test)
    with LiveBar(f"ceiling: one LoRA on all {len(lessons.lessons):,} lessons", console) as bar:

        def show(now: Progress) -> None:
            line = describe_steps(now.step, now.steps, now.loss, now.examples_per_s, now.seconds_left)
            bar.show(now.step, now.steps, line)

        config = read_policy(played.policy).of(MODEL).training
        joint = joint_accuracy(played.task, played.base, lessons, test, config, show)
    before = version_accuracy(played.task, played.base, ArtifactStore(demo.place.artifacts), first, test)
    reached = velocity(engine, MODEL)
    return Report(
        dataset=story.dataset,
        predictions=end,
        distinct_texts=story.distinct,
        feedback_accepted=traffic.stats.accepted,
        feedback_stored=stored.feedback,
        lost=stored.lost,
        duplicates=stored.duplicates,
        increments=reached.increments,
        promotions=reached.promotions,
        rejections=reached.rejections,
        inconclusive=reached.inconclusive,
        compared=last,
        accuracy_first=traffic.accuracy(0, last),
        accuracy_last=traffic.accuracy(end - last, end),
        accuracy_v0_last=before,
        accuracy_joint_ceiling=joint,
        labels_at_start=len(story.known),
        labels_at_end=len(labels_of(engine, traffic.versions[-1])) or len(story.labels),
        corrections_fixed=reached.fix_times.fixed,
        corrections_open=reached.fix_times.open,
        feedback_to_fix_p50_s=reached.fix_times.p50_s,
        feedback_to_fix_p95_s=reached.fix_times.p95_s,
        train_examples_per_s=training_speed(engine, MODEL),
        swap_failed_requests=traffic.failed,
        wall_s=time.monotonic() - start,
    )
