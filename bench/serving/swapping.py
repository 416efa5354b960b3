"""What users notice of swaps: a new champion again and again, under a steady load, beside the same load without."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bench.load import Load, pace
from bench.report import Figure, Tell, at_least, at_most
from bench.serving.answering import CONNECTIONS
from bench.serving.place import Predicting, predictor
from bench.serving.plan import Plan
from bench.serving.versions import Made, make
from shared.artifacts import ArtifactStore

RATE = 150.0  # texts a second: a third of what one core answers


def figures(folder: Path, plan: Plan, texts: Sequence[str], tell: Tell) -> list[Figure]:
    """Failed requests and the slowest answers."""
    store = ArtifactStore(f"file://{folder}/artifacts")
    first, *others = make(store, plan.swaps + 1)
    with predictor(folder, store) as own:
        own.tell(first)
        own.await_champion(first)
        target = own.target(texts)
        pace(target, RATE, CONNECTIONS, plan.warm_s)
        before, seconds, still, moving = own.swaps(), plan.pace_s / plan.turns, [], []
        for turn in range(plan.turns):
            still.append(pace(target, RATE, CONNECTIONS, seconds))
            some = others[turn * len(others) // plan.turns : (turn + 1) * len(others) // plan.turns]
            moving.append(_swapping(own, some, partial(pace, target, RATE, CONNECTIONS, seconds), seconds))
            tell(f"p99 {still[-1].p99_ms:.1f} ms, while swapping {moving[-1].p99_ms:.1f} ms")
        swaps = own.swaps() - before
    p99 = [statistics.median(one.p99_ms for one in loads) for loads in (still, moving)]
    return [
        Figure(f"swaps at {RATE:.0f} texts/s", swaps, "swaps", at_least(plan.swaps)),
        Figure("… failed requests", sum(one.failed for one in (*still, *moving)), "requests", at_most(0)),
        Figure("… p99 while swapping", p99[1], "ms", None, None, {"without a swap": p99[0]}),
        Figure("… times the p99 without", p99[1] / p99[0], "×", at_most(1.3)),
    ]


def _swapping(own: Predicting, versions: Sequence[Made], load: Callable[[], Load], seconds: float) -> Load:
    """The load, while one version after the other becomes champion, evenly over its time."""

    def swap() -> None:
        start = time.monotonic()
        for number, version in enumerate(versions):
            time.sleep(max(0.0, start + number * seconds / len(versions) - time.monotonic()))
            own.tell(version)

    swapping = threading.Thread(target=swap)
    swapping.start()
    taken = load()
    swapping.join()
    own.await_champion(versions[-1])
    return taken
