"""A slice of real questions for tests that play the loop, and of the project's own where no real ones are there."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

from local.demo.story import HELP_DESK, write_rows
from shared.datasets import Row

CLINC150 = Path(__file__).parents[2] / "shared" / "data" / "clinc150"  # beside the project, where there is one
LABELS, TEXTS = 12, 100


def questions(into: Path) -> Path:
    """A folder with the texts of a few labels, of CLINC150 where it is there."""
    into.mkdir()
    for name in ("train.jsonl", "test.jsonl"):
        lines = ((CLINC150 if CLINC150.exists() else HELP_DESK) / name).read_text("utf-8").splitlines()
        rows = [Row(**json.loads(line)) for line in lines]
        labels = sorted({row.label for row in rows})[:LABELS]
        picked = [row for label in labels for row in islice((row for row in rows if row.label == label), TEXTS)]
        write_rows(into / name, picked)
    return into
