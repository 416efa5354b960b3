"""Fitting a candidate to rows: batches of like length, warm-up and decay, and an early end.

Training ends when the dev rows' loss no longer falls, and when everything is learned.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from statistics import mean
from typing import Any

import torch

from services.trainer.checkpoint import Checkpoint, Stage
from services.trainer.reports import SEED, Progress
from shared.lm.adapters import Weights
from shared.lm.task import Learning

BUCKET_BATCHES = 8  # batches are cut from runs of this many after sorting by length: little padding, still shuffled
REPORT_S = 0.5


class Meter:
    """Counts steps and rows, and reports at most twice a second."""

    def __init__(self, steps: int, report: Callable[[Progress], None]) -> None:
        self.steps, self._report = steps, report
        self.curve: list[float] = []
        self.rows = 0
        self.resumed, self.before_s = 0, 0.0
        self._start, self._reported = time.perf_counter(), 0.0

    def go_on(self, stage: Stage) -> None:
        """Count on from where an earlier process was: `resumed` are its steps, `before_s` the seconds they took."""
        self.curve, self.rows = [*stage.curve], stage.rows
        self.resumed, self.before_s = len(stage.curve), stage.seconds
        self._start, self._reported = time.perf_counter() - stage.seconds, stage.seconds

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.perf_counter() - self._start

    @property
    def speed(self) -> float:
        """Examples per second so far."""
        return self.rows / max(1e-9, self.seconds)

    def count(self, loss: float, rows: int) -> None:
        """Take note of one step."""
        self.curve.append(loss)
        self.rows += rows
        elapsed, done = self.seconds, len(self.curve)
        if elapsed - self._reported >= REPORT_S or done == self.steps:
            self._reported = elapsed
            self._report(Progress(done, self.steps, loss, self.speed, (self.steps - done) * elapsed / done))


def fit(
    learning: Learning,
    rows: Sequence[int],
    dev: Sequence[int],
    epochs: int,
    batch_size: int,
    meter: Meter,
    plateau: float = 0.0,
    checkpoint: Checkpoint | None = None,
) -> Weights:
    """Train on rows until the loss on the dev rows no longer falls or all is learned; return the best of the epochs.

    All is learned when a pass lowered the loss by less than `plateau`, a share of what all passes have; 0: never.
    With a checkpoint it goes on from where that says, to the same weights.
    """
    whole = learning.lengths
    lengths = [whole[row] for row in rows]
    with learning.training() as groups:
        run = _Run(learning, groups, meter)
        if checkpoint and (stage := checkpoint.found()):
            run.go_on(stage)
        while run.epoch < epochs:
            run.order = run.shuffle.getstate()
            for batch in islice(batches(lengths, batch_size, run.shuffle), run.batch, None):
                run.step([rows[index] for index in batch])
                if checkpoint:
                    checkpoint.keep(run.stage)
            run.epoch, run.batch = run.epoch + 1, 0
            dev_loss = learning.evaluate(dev)[0] if dev else -float(len(meter.curve))
            if dev_loss >= run.best_loss:
                break
            run.best, run.best_loss = learning.state(), dev_loss
            if plateau and fallen(meter.curve, -(-len(rows) // batch_size)) < plateau:
                break
    return run.best


def fallen(curve: Sequence[float], steps: int) -> float:
    """The last pass's share, a pass being so many steps, of what all have lowered the loss by; 1 for the first two.

    It is below 0 where the loss rose.
    """
    if len(curve) < max(1, 3 * steps):
        return 1.0
    first, before, last = (mean(curve[start:][:steps]) for start in (0, -2 * steps, -steps))
    return (before - last) / (first - last) if first > last else 1.0


class _Run:
    """A fit under way: what changes from step to step, beside what learns."""

    def __init__(self, learning: Learning, groups: list[dict[str, Any]], meter: Meter) -> None:
        self._learning, self._meter = learning, meter
        self._optimizer = torch.optim.AdamW(groups, weight_decay=0.0, fused=True)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, lambda done: _rate(done, meter.steps))
        self.shuffle = random.Random(SEED)
        self.order = self.shuffle.getstate()
        self.best, self.best_loss = learning.state(), float("inf")
        self.epoch, self.batch = 0, 0

    def step(self, rows: Sequence[int]) -> None:
        """Learn from one batch."""
        loss = self._learning.loss(rows)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._schedule.step()
        self.batch += 1
        self._meter.count(loss.item(), len(rows))

    def stage(self) -> Stage:
        """Where it is."""
        return Stage(
            epoch=self.epoch,
            batch=self.batch,
            weights=self._learning.state(),
            optimizer=self._optimizer.state_dict(),
            schedule=self._schedule.state_dict(),
            order=self.order,
            chance=torch.get_rng_state(),
            best=self.best,
            best_loss=self.best_loss,
            curve=self._meter.curve,
            rows=self._meter.rows,
            seconds=self._meter.seconds,
        )

    def go_on(self, stage: Stage) -> None:
        """Be where an earlier process was."""
        self._learning.set_state(stage.weights)
        self._optimizer.load_state_dict(stage.optimizer)
        self._schedule.load_state_dict(stage.schedule)
        self.shuffle.setstate(stage.order)
        torch.set_rng_state(stage.chance)
        self.best = {name: stage.best[name].to(value.device) for name, value in self.best.items()}
        self.best_loss = stage.best_loss
        self.epoch, self.batch = stage.epoch, stage.batch
        self._meter.go_on(stage)


def batches(lengths: Sequence[int], size: int, shuffle: random.Random) -> Iterator[list[int]]:
    """Shuffled batches of rows of like length, as indices."""
    order = list(range(len(lengths)))
    shuffle.shuffle(order)
    cut = []
    for start in range(0, len(order), size * BUCKET_BATCHES):
        run = sorted(order[start : start + size * BUCKET_BATCHES], key=lengths.__getitem__)
        cut += [run[begin : begin + size] for begin in range(0, len(run), size)]
    shuffle.shuffle(cut)
    yield from cut


def _rate(done: int, steps: int) -> float:
    """Linear warm-up over a tenth of the steps, then linear decay to zero."""
    warm = max(1, steps // 10)
    return min((done + 1) / warm, max(0.0, (steps - done) / max(1, steps - warm)))
