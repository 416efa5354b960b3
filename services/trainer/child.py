"""The child process that trains: heavy imports, cores and memory live and die with it.

It is forked from a server process that has imported torch once (`PRELOAD`), so an increment starts in milliseconds and
the parent, which keeps its place in the consumer group, stays small.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from services.trainer.cores import Neighbours
from services.trainer.costs import Costs, Stopwatch, until_now
from services.trainer.reports import Failure, Outcome, Progress, Report
from services.trainer.snapshot import Snapshot
from shared.errors import ConfigError
from shared.lm.loading import TASKS
from shared.observe import start_logging

PRELOAD = ["services.trainer.child", "services.trainer.increment", *(task.partition(":")[0] for task in TASKS.values())]


class DivergedError(Exception):
    """The loss is no finite number any more; a lower learning rate helps."""


@dataclass(frozen=True)
class Job:
    """What the child is to do, and where it leaves the files."""

    snapshot: Snapshot
    texts: Mapping[str, str]
    parent: Path | None
    output: Path
    threads: int
    device: str = "cpu"
    checkpoint: Path | None = None
    checkpoint_s: float = 60.0


@dataclass
class Child:
    """A running training and the pipe on which it reports."""

    process: ForkServerProcess
    reports: Connection

    def news(self) -> list[Report]:
        """What it reported since last asked."""
        news = []
        try:
            while self.reports.poll():
                news.append(self.reports.recv())
        except EOFError:
            pass
        return news

    def stop(self) -> None:
        """End it, if it still runs."""
        self.process.kill()
        self.process.join()


def context() -> ForkServerContext:
    """The fork server, which imports what training needs before the first job."""
    forkserver = multiprocessing.get_context("forkserver")
    forkserver.set_forkserver_preload(PRELOAD)
    return forkserver


def check_device(forkserver: ForkServerContext, device: str) -> None:
    """See, in a child of the fork server, that the device that is asked for is there.

    Raises:
        ConfigError: it is not.
    """
    if device == "cuda":
        process = forkserver.Process(target=_look_for, args=(device,))
        process.start()
        process.join()
        if process.exitcode:
            raise ConfigError(
                "LEARNBACK_TRAINER_DEVICE is cuda, and CUDA finds no GPU: see to its driver, or set auto."
            )


def _look_for(device: str) -> None:
    from shared.lm.devices import chosen

    try:
        chosen(device)
    except ConfigError:
        sys.exit(1)


def start(forkserver: ForkServerContext, job: Job) -> Child:
    """Start a training."""
    ours, theirs = forkserver.Pipe(duplex=False)
    process = forkserver.Process(target=_live, args=(job, theirs), daemon=True)
    process.start()
    theirs.close()
    return Child(process, ours)


def _live(job: Job, reports: Connection) -> None:
    start_logging("trainer")
    run(job, reports)


def run(job: Job, reports: Connection) -> None:
    """The child's whole life: load, train, write, report."""
    try:
        reports.send(_train(job, reports))
    except BrokenPipeError:
        os._exit(1)  # the parent is gone; nobody waits for this candidate
    except Exception as error:
        reports.send(Failure(f"raised {type(error).__name__}"))
        raise


def _train(job: Job, reports: Connection) -> Outcome:
    import peft
    import torch
    import transformers

    from services.trainer.checkpoint import Checkpoint
    from services.trainer.increment import train
    from services.trainer.regroup import regrouped
    from shared.lm import bases, loading

    def report(progress: Progress) -> None:
        _must_be_finite(progress.loss)
        reports.send(progress)

    neighbours, watch, start = Neighbours(), Stopwatch(), time.perf_counter()
    task = loading.task(job.snapshot.task, job.snapshot.base, job.threads or 1, job.device)
    if not job.threads:
        torch.set_num_threads(neighbours.free_cores())
    watch.lap("load_s")

    def spent() -> Costs:
        seconds = time.perf_counter() - start
        on_gpu = (0.0, 0.0) if task.device.startswith("cpu") else (seconds, torch.cuda.max_memory_allocated() / 1024**2)
        now = until_now(seconds, *on_gpu)
        return now.after(checkpoint.before) if checkpoint else now

    libraries = {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}
    base_digest = bases.digest(job.snapshot.base)
    checkpoint = None
    if job.checkpoint:
        mark = json.dumps([base_digest, libraries])
        checkpoint = Checkpoint(job.checkpoint, job.checkpoint_s, mark, spent)
    with tempfile.TemporaryDirectory(dir=job.output.parent) as folder:
        parent = job.parent
        if parent and job.snapshot.regrouped:
            parent = regrouped(parent, dict(job.snapshot.regrouped), Path(folder) / parent.name)
        trained = train(task, parent, job.snapshot, job.texts, report, job.output, checkpoint)
    _must_be_finite(*trained.loss_curve)
    watch.lap("train_s")
    watch.laps["train_s"] += trained.before_s
    return Outcome(
        labels=trained.labels,
        steps=len(trained.loss_curve),
        resumed=trained.resumed,
        loss_curve=thin(trained.loss_curve),
        examples_per_s=trained.examples_per_s,
        dev_score=trained.dev_score,
        step_size=trained.step_size,
        step_sizes=trained.step_sizes,
        phases={**watch.laps, **trained.phases},
        costs=spent(),
        device=task.device,
        base_digest=base_digest,
        libraries=libraries,
    )


def _must_be_finite(*losses: float) -> None:
    if not all(map(isfinite, losses)):
        raise DivergedError


def thin(curve: tuple[float, ...], most: int = 200) -> tuple[float, ...]:
    """At most `most` points of a curve, evenly chosen, the last one among them."""
    if len(curve) <= most:
        return curve
    return tuple(curve[round(index * (len(curve) - 1) / (most - 1))] for index in range(most))
