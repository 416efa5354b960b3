"""The learning itself: from the champion and a snapshot to a candidate's files, whatever the task.

Warm start from the champion, new examples mixed with replay, early stop and the choice of how far to move (λ) on rows
that only choose. New examples are not raised to the size of the replay: they are what the champion got wrong, hard and
noisy, and an increment that leans on them loses what it knew (docs/log.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import torch

from services.trainer.checkpoint import Checkpoint
from services.trainer.costs import Stopwatch
from services.trainer.fitting import Meter, fit
from services.trainer.reports import SEED, Progress, Tried
from services.trainer.snapshot import Lesson, Snapshot, replay_size
from shared.lm.adapters import Weights
from shared.lm.task import Example, Judged, Learning, Opinion, Preferred, Task
from shared.policy import Training

DEV_MIN_PER_LABEL = 4  # a label with fewer rows cannot spare one to choose λ
OFTEN = 1000  # rows up to which every one is passed over as often as the policy says
FIRST = {True: 15, False: 6}  # by whether there are labels: so often a model's first rows are passed over


@dataclass(frozen=True)
class Trained:
    """How a candidate came about; `rows` counts each one as often as it was learned from.

    `resumed` of the steps were taken by an earlier process, in `before_s` seconds, which the phases count too.
    `dev_score` is that of the step chosen, before the head is fitted at once, to which the dev rows are given too.
    """

    labels: tuple[str, ...]
    loss_curve: tuple[float, ...]
    rows: int
    examples_per_s: float
    dev_score: float | None
    step_size: float | None
    step_sizes: tuple[Tried, ...]
    phases: Mapping[str, float]
    resumed: int
    before_s: float


def train(
    task: Task,
    parent: Path | None,
    snapshot: Snapshot,
    texts: Mapping[str, str],
    report: Callable[[Progress], None],
    output: Path,
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train one increment and write the candidate's files into `output`.

    `parent` is the folder of the champion's files, None for a model's first version and for a refresh; `texts` holds
    the input of every example that the snapshot names. The same arguments give the same files on one machine's CPU,
    whether or not training goes on from a checkpoint.
    """
    torch.manual_seed(SEED)
    watch = Stopwatch()
    lessons = (*snapshot.new, *snapshot.replay)
    examples, opinions = _examples(snapshot, texts), _opinions(snapshot, texts)
    with task.learning(parent, examples, snapshot.config, opinions) as learning:
        head_only = {row for row, one in enumerate(examples) if one.head_only}
        dev = dev_split(lessons, snapshot.config.dev_share, bool(learning.labels)) if parent else frozenset()
        rows = [row for row in range(len(learning.lengths)) if row not in dev | head_only]
        watch.lap("prepare_s")
        trained = _increment(learning, rows, sorted(dev - head_only), snapshot, report, watch, checkpoint)
        learning.save(output)
        watch.lap("save_s")
    return trained


def dev_split(lessons: Sequence[Lesson], share: float, labelled: bool = True) -> frozenset[int]:
    """Rows that only choose λ and the epoch: a share by hash of the id; where there are labels, none of rare ones."""
    count = Counter(lesson.target if labelled else None for lesson in lessons)
    return frozenset(
        index
        for index, lesson in enumerate(lessons)
        if count[lesson.target if labelled else None] >= DEV_MIN_PER_LABEL
        and int(lesson.id[:8], 16) / 0x1_0000_0000 < share
    )


def passes(config: Training, rows: int, first: bool, labelled: bool = True) -> int:
    """How often so many rows are passed over: less often the more there are, so that steps grow as their root.

    Few rows need many passes to take enough steps at all; of many, fewer passes teach as much (docs/log.md). A
    classifier's increment takes no more steps but a pass: its head is fitted in the end.
    """
    share = OFTEN / max(OFTEN, rows)
    most = (config.seed_epochs or FIRST[labelled]) if first else config.max_epochs
    return max(1, round(most * (share if labelled and not first else sqrt(share))))


def between(before: Weights, after: Weights, step_size: float) -> Weights:
    """θ = θ_before + λ (θ_after − θ_before), tensor by tensor."""
    return {name: torch.lerp(before[name], after[name], step_size) for name in after}


def _examples(snapshot: Snapshot, texts: Mapping[str, str]) -> list[Example]:
    """What the task learns from, with weights of mean 1."""
    mean = _mean_weight(snapshot)
    passed = _passed_over(snapshot)
    return [
        Example(
            texts[lesson.id],
            lesson.target,
            lesson.weight / mean,
            lesson.rejected,
            index >= len(snapshot.new),
            index not in passed,
            lesson.voice,
        )
        for index, lesson in enumerate((*snapshot.new, *snapshot.replay))
    ]


def _passed_over(snapshot: Snapshot) -> frozenset[int]:
    """All rows that are new, and as many of the replayed ones, which come label by label, as passes are made over."""
    new, replayed = len(snapshot.new), len(snapshot.replay)
    count = replayed if snapshot.refresh else min(replayed, replay_size(snapshot.config, new))
    return frozenset((*range(new), *(new + one * replayed // count for one in range(count))))


def _opinions(snapshot: Snapshot, texts: Mapping[str, str]) -> list[Opinion]:
    """What users said of outputs; what it weighs is measured as the examples' weights are."""
    mean = _mean_weight(snapshot)
    pairs = [Preferred(texts[one.example_id], one.chosen, one.rejected, one.weight / mean) for one in snapshot.pairs]
    return pairs + [Judged(texts[one.example_id], one.output, one.liked, one.weight / mean) for one in snapshot.thumbs]


def _mean_weight(snapshot: Snapshot) -> float:
    """What an example weighs, or, where there is none, an opinion."""
    weights = [one.weight for one in (*snapshot.new, *snapshot.replay) or snapshot.opinions]
    return sum(weights) / len(weights)


def _increment(
    learning: Learning,
    rows: Sequence[int],
    dev: Sequence[int],
    snapshot: Snapshot,
    report: Callable[[Progress], None],
    watch: Stopwatch,
    checkpoint: Checkpoint | None,
) -> Trained:
    """Fit, and go as far as the dev rows say; the learning holds the result."""
    config = snapshot.config
    epochs = passes(config, len(rows), first=snapshot.goes_on_from is None, labelled=bool(learning.labels))
    meter = Meter(epochs * -(-len(rows) // config.batch_size), report)
    before = learning.state()
    plateau = config.plateau if learning.labels else 0.0  # not measured where outputs are free text
    after = fit(learning, rows, dev, epochs, config.batch_size, meter, plateau, checkpoint)
    watch.lap("fit_s")
    watch.laps["fit_s"] += meter.before_s
    tried = _tried(learning, before, after, dev, config.step_sizes) if dev else ()
    best = min(tried, key=lambda one: one.loss, default=None)  # the longest on a tie
    learning.set_state(between(before, after, best.step_size) if best else after)
    watch.lap("choose_s")
    if snapshot.goes_on_from is not None:
        learning.settle()
        watch.lap("settle_s")
    score, step_size = (best.score, best.step_size) if best else (None, None)
    return Trained(
        labels=learning.labels,
        loss_curve=tuple(meter.curve),
        rows=meter.rows,
        examples_per_s=meter.speed,
        dev_score=score,
        step_size=step_size,
        step_sizes=tried,
        phases=watch.laps,
        resumed=meter.resumed,
        before_s=meter.before_s,
    )


def _tried(
    learning: Learning, before: Weights, after: Weights, dev: Sequence[int], grid: Sequence[float]
) -> tuple[Tried, ...]:
    """Every λ of the grid, the longest first, with what the dev rows say of it."""
    tried = []
    for step_size in sorted(grid, reverse=True):
        learning.set_state(between(before, after, step_size))
        tried.append(Tried(step_size, *learning.evaluate(dev)))
    return tuple(tried)
