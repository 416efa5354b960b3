"""Fitting a candidate to rows: batches of like length, warm-up and decay, early stop on the dev loss."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence

import torch

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
        self._start, self._reported = time.perf_counter(), 0.0

    @property
    def speed(self) -> float:
        """Examples per second so far."""
        return self.rows / max(1e-9, time.perf_counter() - self._start)

    def count(self, loss: float, rows: int) -> None:
        """Take note of one step."""
        self.curve.append(loss)
        self.rows += rows
        elapsed, done = time.perf_counter() - self._start, len(self.curve)
        if elapsed - self._reported >= REPORT_S or done == self.steps:
            self._reported = elapsed
            self._report(Progress(done, self.steps, loss, self.speed, (self.steps - done) * elapsed / done))


def fit(
    learning: Learning, rows: Sequence[int], dev: Sequence[int], epochs: int, batch_size: int, meter: Meter
) -> Weights:
    """Train on rows; stop when the loss on the dev rows no longer falls; return the best of the epochs."""
    shuffle = random.Random(SEED)
    lengths = learning.lengths
    best, best_loss = learning.state(), float("inf")
    with learning.training() as groups:
        optimizer = torch.optim.AdamW(groups, weight_decay=0.0, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: _rate(done, meter.steps))
        for _ in range(epochs):
            for batch in batches([lengths[row] for row in rows], batch_size, shuffle):
                loss = learning.loss([rows[index] for index in batch])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                meter.count(loss.item(), len(batch))
            dev_loss = learning.evaluate(dev)[0] if dev else -float(len(meter.curve))
            if dev_loss >= best_loss:
                break
            best, best_loss = learning.state(), dev_loss
    return best


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
