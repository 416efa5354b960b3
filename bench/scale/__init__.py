"""Replicas: recorders and aggregators on six partitions, predictors behind one address, trainers of which one works.

Everything runs on this machine, on as many cores as it has: what a second replica gains shows only where cores are
free. What must hold on any machine has a bar: nothing lost, nothing twice, no request that a client's retry loses.
"""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.report import Figure, Tell

KINDS = ("recorders", "aggregators", "predictors", "trainers")


def options(parser: ArgumentParser) -> None:
    """What this bench can be asked beside what all can."""
    parser.add_argument("--of", choices=KINDS, action="append", help="replicas of this service alone; may be repeated")


def measure(quick: bool, tell: Tell, of: list[str] | None = None) -> list[Figure]:
    """All figures of replicas."""
    from bench.scale import aggregating, predicting, recording, training  # they import torch and the services' drivers

    measured = {
        "recorders": recording.figures,
        "aggregators": aggregating.figures,
        "predictors": predicting.figures,
        "trainers": training.figures,
    }
    with TemporaryDirectory(prefix="learnback-bench-") as name:
        return [one for kind in of or KINDS for one in measured[kind](Path(name) / kind, quick, tell)]
