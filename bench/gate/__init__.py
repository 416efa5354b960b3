"""Whether the gate can be fooled: worlds in which the truth is known, judged by the product's own gate.

Nothing of the gate is copied here: evidence is what the recorder's rules make evidence, and verdicts are the
evaluator's. Beside each figure is what people do without such a gate, on the same rows. `spread` is a 95 % interval.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console

from bench.gate import backdoor, canary, chances, equal, shown, watched
from bench.report import Figure, Tell
from cli.progress import LiveBar

Advance = Callable[[], None]


@dataclass(frozen=True)
class Size:
    """How much is drawn: sequences of so many equal candidates, single better or worse ones, canaries, stories."""

    sequences: int = 400
    candidates: int = 100
    better: int = 2000
    worse: int = 300
    trials: int = 400
    stories: int = 400


FULL, QUICK = Size(), Size(candidates=24, stories=30)  # of equal ones, 20 are tested in a reign
WORLDS = (*equal.WORLDS, "better", "poisoned", "backdoor", "canary", "watch", "board")


def options(parser: ArgumentParser) -> None:
    """What this bench can be asked beside what all can."""
    parser.add_argument("--world", choices=WORLDS, help="this one alone")
    parser.add_argument("--seed", type=int, default=2026, help="another one draws other worlds of the same kinds")


def measure(quick: bool, tell: Tell, world: str | None = None, seed: int = 2026) -> list[Figure]:
    """Each world's figures."""
    size, console = QUICK if quick else FULL, Console(stderr=True)
    found: list[Figure] = []
    for name in (world,) if world else WORLDS:
        with LiveBar(name, console) as bar:
            some = figures_of(name, size, seed, _counter(bar, _steps(name, size)))
        tell("; ".join(f"{figure.name}: {figure.value:.3g} {figure.unit}" for figure in some))
        found += some
    return found


def figures_of(name: str, size: Size, seed: int, advance: Advance) -> list[Figure]:
    """The figures of one world."""
    match name:
        case "better":
            return chances.better(size.better, seed, advance)
        case "poisoned":
            return chances.worse(size.worse, seed, advance)
        case "backdoor":
            return backdoor.figures(size.worse, seed, advance)
        case "canary":
            return canary.figures(size.trials, seed, advance)
        case "watch":
            return watched.figures(size.trials, seed, advance)
        case "board":
            return shown.figures(size.stories, seed, advance)
    return equal.figures(equal.WORLDS[name], size.sequences, size.candidates, seed, advance)


def _steps(name: str, size: Size) -> int:
    known = {
        "better": len(chances.KINDS) * size.better,
        "poisoned": size.worse,
        "backdoor": size.worse,
        "canary": size.trials,
        "watch": size.trials,
        "board": size.stories,
    }
    return known.get(name, size.sequences)


def _counter(bar: LiveBar, total: int) -> Advance:
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        bar.show(done, total, f"{done:,} of {total:,}")

    return advance
