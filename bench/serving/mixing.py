"""What a canary costs: a batch of champion and canary beside a batch of the champion alone, in one process."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from bench.report import Figure, Tell, at_most
from bench.serving.plan import Plan
from bench.serving.versions import BASE, make
from shared.artifacts import ArtifactStore
from shared.lm.classification import Classification
from shared.lm.task import Asked

ROWS = 32  # the predictor's largest batch
TOP_K = 5
WAYS = {"alone": ("champion",), "half": ("champion", "canary"), "tenth": ("champion",) * 9 + ("canary",)}


def figures(folder: Path, plan: Plan, texts: Sequence[str], tell: Tell) -> list[Figure]:
    """Times of mixed batches, as multiples of a single version's."""
    store = ArtifactStore(f"file://{folder}/artifacts")
    task = Classification(BASE)
    names = dict(zip(("champion", "canary"), make(store, 2), strict=True))
    for name, made in names.items():
        task.load(name, store.get(f"versions/{made.version}", made.digest)[0])
    tell(f"mixed batches on {task.device}")
    seconds: dict[str, list[float]] = {way: [] for way in (*WAYS, "apart")}
    for turn in range(plan.batches):
        begin = turn * ROWS % (len(texts) - ROWS)
        batch = texts[begin : begin + ROWS]
        for way, versions in WAYS.items():
            seconds[way].append(_seconds(task, [_asked(batch, versions)]))
        seconds["apart"].append(_seconds(task, [_asked(batch[::2], ("champion",)), _asked(batch[1::2], ("canary",))]))
    alone, half, tenth, apart = (statistics.median(seconds[way]) for way in seconds)
    return [
        Figure(f"a batch of {ROWS} texts, one version", alone * 1e3, "ms"),
        Figure("… half champion, half canary", half / alone, "×", at_most(1.25), None, {"a batch each": apart / alone}),
        Figure("… a tenth canary", tenth / alone, "×", at_most(1.25)),
    ]


def _asked(texts: Sequence[str], versions: Sequence[str]) -> list[Asked]:
    return [Asked(version, text, TOP_K) for text, version in zip(texts, itertools.cycle(versions), strict=False)]


def _seconds(task: Classification, batches: Sequence[list[Asked]]) -> float:
    start = time.perf_counter()
    for batch in batches:
        task.answer_each(batch)
    return time.perf_counter() - start
