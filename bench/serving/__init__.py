"""Serving: texts a second over HTTP, swaps under load, champion and canary in one batch, artifacts that are damaged.

The predictor runs as its users run it, on a real broker: an answer counts when its prediction is durable, and at the
end the topic must hold as many as were answered. Load, broker, predictor and peer share this machine. The peer is what
people begin with: a transformers pipeline behind FastAPI, on the same base, which answers one request after the other.
"""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.report import Figure, Tell


def options(parser: ArgumentParser) -> None:
    """What this bench can be asked beside what all can."""
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="with test.jsonl, in place of ours")


def measure(quick: bool, tell: Tell, data: Path | None = None) -> list[Figure]:
    """All figures of serving."""
    from bench.serving import answering, damaging, mixing, swapping  # they import torch
    from bench.serving.plan import QUICK, WHOLE, texts

    plan = QUICK if quick else WHOLE
    with TemporaryDirectory(prefix="learnback-bench-") as name:
        folder = Path(name)
        asked = texts(data)
        return [
            *mixing.figures(folder / "mixing", plan, asked, tell),
            *damaging.figures(folder / "damaging", plan, tell),
            *answering.figures(folder / "answering", plan, asked, tell),
            *swapping.figures(folder / "swapping", plan, asked, tell),
        ]
