"""How much is measured, and what is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.learning.course import DATA
from cli.examples import read_rows
from local.demo.story import HELP_DESK, read_story


@dataclass(frozen=True)
class Plan:
    """How long and how often."""

    warm_s: float
    flood_s: float
    rounds: int
    swaps: int
    turns: int  # of swapping and of not, one after the other: what else the machine does meets both
    pace_s: float
    batches: int
    damaged: int


WHOLE = Plan(warm_s=5, flood_s=12, rounds=3, swaps=100, turns=5, pace_s=50, batches=60, damaged=1_000)
QUICK = Plan(warm_s=3, flood_s=6, rounds=1, swaps=20, turns=2, pace_s=10, batches=20, damaged=100)


def texts(data: Path | None) -> list[str]:
    """Questions of real people, in the order of the file; without a folder and without ours, the demo's own."""
    folder = data or DATA
    if data is None and not folder.is_dir():
        return [row.text for row in read_story(HELP_DESK, 2_000, 1).stream]
    return [row.text for row in read_rows(folder / "test.jsonl")]
