"""Peers from packages that are not ours: each a script here, run by an environment of its own that the bench makes.

A frozen encoder with logistic regression (scikit-learn), and SetFit. torch comes from our own environment, so that all
compute with the same library.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.learning.jobs import Clock
from bench.learning.line import BASE
from bench.learning.outcomes import Retrained
from bench.peers import environment
from bench.report import Tell
from shared.datasets import Row
from shared.errors import UnavailableError
from shared.lm.bases import locate
from shared.lm.encoder import Encoder

SCIKIT, SETFIT = "scikit-learn==1.9.1", "setfit==1.2.0"
SCRIPTS = Path(__file__).parent / "elsewhere"
FROZEN = "frozen"


def prepare(tell: Tell) -> dict[str, Path | None]:
    """An environment for each package; None where it cannot be installed here."""
    found: dict[str, Path | None] = {}
    for package, borrowed in ((SCIKIT, ()), (SETFIT, ("torch",))):
        try:
            found[package] = environment(package, tell, borrowed) / "bin" / "python"
        except UnavailableError as error:
            tell(str(error))
            found[package] = None
    return found


def regress(python: Path, rows: Sequence[Row], test: Sequence[Row]) -> Retrained:
    """Logistic regression on the vectors of the base as it comes."""
    clock = Clock()
    encoder = Encoder(BASE)
    encoder.create(FROZEN, rank=1, layers=1)  # what is fresh changes nothing
    with clock.running():
        vectors = encoder.embed(encoder.tokens([row.text for row in rows]), FROZEN)
    tested = encoder.embed(encoder.tokens([row.text for row in test]), FROZEN)
    given = {"vectors": vectors.tolist(), "labels": [row.label for row in rows]}
    told = _run(python, "regression.py", {**given, "tested": tested.tolist(), "right": [row.label for row in test]})
    return Retrained(clock.seconds + told["cpu_s"], told["accuracy"] * 100, len(rows))


def setfit(python: Path, rows: Sequence[Row], test: Sequence[Row], iterations: int) -> Retrained:
    """SetFit on so many pairs of each kind per row; each pair is two passes."""
    given = {"rows": [[row.text, row.label] for row in rows], "test": [[row.text, row.label] for row in test]}
    told = _run(python, "contrast.py", {**given, "base": locate(BASE), "iterations": iterations})
    return Retrained(told["cpu_s"], told["accuracy"] * 100, int(told["passes"]))


def _run(python: Path, script: str, given: dict[str, object]) -> dict[str, float]:
    """A script's answer to a question, both JSON, on one core.

    Raises:
        UnavailableError: the script failed.
    """
    one_core = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(python), str(SCRIPTS / script)],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        env={**os.environ, **one_core, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
    )
    if done.returncode:
        raise UnavailableError(f"{script}: {''.join(done.stderr.strip().splitlines()[-1:])}")
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told
