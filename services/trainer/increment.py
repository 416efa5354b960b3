"""The learning itself: from the champion and a snapshot to a candidate's weights.

Warm start from the champion's adapter and head, new examples mixed with class-balanced replay, early stop and the
choice of how far to move (λ) on rows that only choose. New labels grow the head: a new row starts as the mean of its
examples, at the length of the rows that are there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from services.trainer.fitting import Meter, Rows, evaluate, fit
from services.trainer.reports import Progress
from services.trainer.snapshot import Lesson, Snapshot
from shared.lm.adapters import Weights
from shared.lm.classifier import Head
from shared.lm.encoder import Encoder, Inputs
from shared.policy import Training

CANDIDATE = "candidate"
HEAD_SCALE = 20.0  # length of a fresh head row on unit vectors: cosine 1 vs .7 becomes six logits apart (docs/log.md)
DEV_MIN_PER_LABEL = 4  # a label with fewer rows cannot spare one to choose λ


@dataclass(frozen=True)
class Trained:
    """A candidate's weights and how they came about."""

    adapter: Weights
    head: Head
    loss_curve: tuple[float, ...]
    examples_per_s: float
    dev_score: float | None
    step_size: float | None


def train(
    encoder: Encoder,
    parent: Path | None,
    snapshot: Snapshot,
    texts: Mapping[str, str],
    report: Callable[[Progress], None],
) -> Trained:
    """Train one increment. `parent` is the folder of the champion's files, None for a model's first version.

    `texts` holds the input of every id in the snapshot. The same arguments give the same weights on one machine.
    """
    torch.manual_seed(0)
    config = snapshot.config
    lessons = (*snapshot.new, *snapshot.replay)
    _place(encoder, parent, config)
    inputs = encoder.halfway(encoder.tokens([texts[lesson.id] for lesson in lessons]), CANDIDATE)
    head = _grown(encoder, parent, lessons, inputs)
    rows = _rows(lessons, inputs, head.labels)
    dev_indices = dev_split(lessons, config.dev_share) if parent else frozenset()
    dev = rows.take(sorted(dev_indices))
    lesson_rows = rows.take([index for index in range(len(lessons)) if index not in dev_indices])
    before = encoder.weights(CANDIDATE)
    epochs = config.max_epochs if parent else config.seed_epochs
    meter = Meter(epochs * -(-len(lesson_rows.inputs) // config.batch_size), report)
    after = fit(encoder, CANDIDATE, head, lesson_rows, dev, epochs, config, meter)
    curve, speed = tuple(meter.curve), meter.speed
    if not dev.inputs:
        return Trained(*after, curve, speed, None, None)
    step_size, moved, score = _choose_step(encoder, (before, head), after, dev, config.step_sizes)
    return Trained(*moved, curve, speed, score, step_size)


def dev_split(lessons: Sequence[Lesson], share: float) -> frozenset[int]:
    """Indices of the rows that only choose λ and the epoch: a share by hash of the id, none of rare labels."""
    count = Counter(lesson.target for lesson in lessons)
    return frozenset(
        index
        for index, lesson in enumerate(lessons)
        if count[lesson.target] >= DEV_MIN_PER_LABEL and int(lesson.id[:8], 16) / 0x1_0000_0000 < share
    )


def grow(head: Head, vectors: Tensor, targets: Sequence[str]) -> Head:
    """The head with a row for every target it does not know: the mean of that target's vectors [n, width]."""
    new = sorted(set(targets) - set(head.labels))
    if not new:
        return head
    length = head.weight.norm(dim=1).mean() if len(head.labels) else torch.tensor(HEAD_SCALE)
    bias = head.bias.mean() if len(head.labels) else torch.tensor(0.0)
    means = [vectors[[index for index, target in enumerate(targets) if target == label]].mean(0) for label in new]
    rows = functional.normalize(torch.stack(means), dim=-1) * length
    return Head(
        (*head.labels, *new), torch.cat([head.weight, rows]), torch.cat([head.bias, bias.expand(len(new)).clone()])
    )


def between(before: Weights, after: Weights, step_size: float) -> Weights:
    """θ = θ_before + λ (θ_after − θ_before), tensor by tensor."""
    return {name: torch.lerp(before[name], after[name], step_size) for name in after}


def _place(encoder: Encoder, parent: Path | None, config: Training) -> None:
    """Put the candidate's adapter in place: the champion's, or a fresh one."""
    if parent is None:
        encoder.create(CANDIDATE, config.rank, config.layers)
    else:
        encoder.load(CANDIDATE, parent)


def _grown(encoder: Encoder, parent: Path | None, lessons: Sequence[Lesson], inputs: Inputs) -> Head:
    """The champion's head, or an empty one, grown to all targets."""
    head = Head.load(parent) if parent else Head((), torch.empty(0, encoder.width), torch.empty(0))
    unknown = [index for index, lesson in enumerate(lessons) if lesson.target not in head.labels]
    vectors = encoder.embed([inputs[index] for index in unknown], CANDIDATE)
    return grow(head, vectors, [lessons[index].target for index in unknown])


def _rows(lessons: Sequence[Lesson], inputs: Inputs, labels: Sequence[str]) -> Rows:
    """Rows in which every lesson counts by its weight alone.

    New ones are not raised to the size of the replay: they are what the champion got wrong, hard and noisy, and an
    increment that leans on them loses what it knew (docs/log.md).
    """
    index = {label: number for number, label in enumerate(labels)}
    weights = torch.tensor([lesson.weight for lesson in lessons])
    return Rows(inputs, torch.tensor([index[lesson.target] for lesson in lessons]), weights / weights.mean())


def _choose_step(
    encoder: Encoder, before: tuple[Weights, Head], after: tuple[Weights, Head], dev: Rows, grid: Sequence[float]
) -> tuple[float, tuple[Weights, Head], float]:
    """The λ of the grid with the lowest dev loss (the longer on a tie), the weights there, their dev accuracy."""
    found = []
    for step_size in sorted(grid, reverse=True):
        adapter = between(before[0], after[0], step_size)
        head = Head(
            after[1].labels,
            torch.lerp(before[1].weight, after[1].weight, step_size),
            torch.lerp(before[1].bias, after[1].bias, step_size),
        )
        encoder.set_weights(CANDIDATE, adapter)
        loss, score = evaluate(encoder, CANDIDATE, head, dev)
        found.append((loss, step_size, (adapter, head), score))
    _, step_size, moved, score = min(found, key=lambda option: option[0])
    return step_size, moved, score
