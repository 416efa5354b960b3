"""Fitting an adapter and a head to rows: batches of like length, warm-up and decay, early stop on the dev loss."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.trainer.reports import Progress
from shared.lm.adapters import Weights
from shared.lm.classifier import Head
from shared.lm.encoder import Encoder, Inputs
from shared.policy import Training

LABEL_SMOOTHING = 0.05
BUCKET_BATCHES = 8  # batches are cut from runs of this many after sorting by length: little padding, still shuffled
REPORT_S = 0.5


@dataclass(frozen=True)
class Rows:
    """Rows ready to train on: inputs as the encoder takes them, target indices [n] and weights [n] with mean 1."""

    inputs: Inputs
    targets: Tensor
    weights: Tensor

    def take(self, indices: Sequence[int]) -> Rows:
        """Some of the rows."""
        return Rows([self.inputs[index] for index in indices], self.targets[list(indices)], self.weights[list(indices)])


class Learner:
    """The parameters in training and their optimiser."""

    def __init__(
        self, encoder: Encoder, head: Head, parameters: list[nn.Parameter], config: Training, steps: int
    ) -> None:
        self.encoder, self.labels = encoder, head.labels
        self.weight, self.bias = nn.Parameter(head.weight.clone()), nn.Parameter(head.bias.clone())
        groups = [
            {"params": parameters, "lr": config.learning_rate},
            {"params": [self.weight, self.bias], "lr": config.head_learning_rate},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.0, fused=True)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda done: _rate(done, steps))

    @property
    def head(self) -> Head:
        """A copy of the head as it is now."""
        return Head(self.labels, self.weight.detach().clone(), self.bias.detach().clone())

    def step(self, batch: Rows) -> float:
        """One update; returns the loss before it."""
        logits = self.encoder.forward(batch.inputs) @ self.weight.T + self.bias
        losses = functional.cross_entropy(logits, batch.targets, reduction="none", label_smoothing=LABEL_SMOOTHING)
        loss = (losses * batch.weights).mean()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()
        return loss.item()


class Meter:
    """Counts steps and rows, and reports at most twice a second."""

    def __init__(self, steps: int, report: Callable[[Progress], None]) -> None:
        self.steps, self._report = steps, report
        self.curve: list[float] = []
        self._rows, self._start, self._reported = 0, time.perf_counter(), 0.0

    @property
    def speed(self) -> float:
        """Examples per second so far."""
        return self._rows / max(1e-9, time.perf_counter() - self._start)

    def count(self, loss: float, rows: int) -> None:
        """Take note of one step."""
        self.curve.append(loss)
        self._rows += rows
        elapsed, done = time.perf_counter() - self._start, len(self.curve)
        if elapsed - self._reported >= REPORT_S or done == self.steps:
            self._reported = elapsed
            self._report(Progress(done, self.steps, loss, self.speed, (self.steps - done) * elapsed / done))


def fit(
    encoder: Encoder, adapter: str, head: Head, rows: Rows, dev: Rows, epochs: int, config: Training, meter: Meter
) -> tuple[Weights, Head]:
    """Train adapter and head; stop when the dev loss no longer falls; return the best of the epochs."""
    shuffle = random.Random(0)
    best, best_loss = (encoder.weights(adapter), head), float("inf")
    with encoder.training(adapter) as parameters:
        learner = Learner(encoder, head, parameters, config, meter.steps)
        for _ in range(epochs):
            for indices in batches(rows.inputs, config.batch_size, shuffle):
                meter.count(learner.step(rows.take(indices)), len(indices))
            dev_loss = evaluate(encoder, adapter, learner.head, dev)[0] if dev.inputs else -float(len(meter.curve))
            if dev_loss >= best_loss:
                break
            best, best_loss = (encoder.weights(adapter), learner.head), dev_loss
    return best


def batches(inputs: Inputs, size: int, shuffle: random.Random) -> Iterator[list[int]]:
    """Shuffled batches of rows of like length."""
    order = list(range(len(inputs)))
    shuffle.shuffle(order)
    cut = []
    for start in range(0, len(order), size * BUCKET_BATCHES):
        run = sorted(order[start : start + size * BUCKET_BATCHES], key=lambda index: len(inputs[index]))
        cut += [run[begin : begin + size] for begin in range(0, len(run), size)]
    shuffle.shuffle(cut)
    yield from cut


def _rate(done: int, steps: int) -> float:
    """Linear warm-up over a tenth of the steps, then linear decay to zero."""
    warm = max(1, steps // 10)
    return min((done + 1) / warm, max(0.0, (steps - done) / max(1, steps - warm)))


def evaluate(encoder: Encoder, adapter: str, head: Head, dev: Rows) -> tuple[float, float]:
    """Weighted loss and weighted accuracy on the dev rows."""
    with torch.inference_mode():
        logits = head.logits(encoder.embed(dev.inputs, adapter))
        share = dev.weights / dev.weights.sum()
        losses = functional.cross_entropy(logits, dev.targets, reduction="none")
        right = (logits.argmax(-1) == dev.targets).float()
        return (losses * share).sum().item(), min(1.0, (right * share).sum().item())
