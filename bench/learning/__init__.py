"""How well and how dearly a model learns from feedback: ours beside what people do today, on the same data and cores.

What it costs is CPU time, and every trainer computes on one core (`bench/learning/jobs.py`), so that other work on the
machine moves the figures little. Each task has a module of figures here; a third one is a line in TASKS.
"""

from __future__ import annotations

from argparse import ArgumentParser
from importlib import import_module
from pathlib import Path

from bench.report import Figure, Tell

TASKS = {  # imported when asked for: they import torch
    "classification": "bench.learning.classification",
    "generation": "bench.learning.generation",
}
STREAMS = ("shuffled", "class-incremental")


def options(parser: ArgumentParser) -> None:
    """What this bench can be asked beside what all can."""
    parser.add_argument("--task", choices=tuple(TASKS), default="classification", help="what is learned")
    parser.add_argument("--stream", choices=STREAMS, help="one order of the lessons alone, and nothing else")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="with train.jsonl and test.jsonl, in place of ours")


def measure(
    quick: bool, tell: Tell, task: str = "classification", stream: str | None = None, data: Path | None = None
) -> list[Figure]:
    """The figures of a task; with a stream, of that alone."""
    figures: list[Figure] = import_module(TASKS[task]).measure(quick, tell, stream, data)
    return figures
