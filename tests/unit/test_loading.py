"""What the services that compute import is imported beside the rest, and nothing is missing afterwards."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADS = """
import gc, sys
from shared.lm import loading
loading.begin(*sys.argv[1:]).join()
assert gc.isenabled()
assert {"shared.lm.classifier", *sys.argv[1:]} <= sys.modules.keys()
assert ("scipy" in sys.modules) == ("scipy.stats" in sys.argv), "it takes half a second"
import scipy, triton
encoder = loading.classifier("all-MiniLM-L6-v2", threads=1).encoder
encoder.create("fresh", rank=4, layers=2)
vectors = encoder.embed(encoder.tokens(["where is my order", "what is my balance"]), "fresh")
assert vectors.shape == (2, encoder.width)
"""

LIGHT = """
import sys
import services.evaluator.__main__, services.predictor.__main__, services.trainer.__main__
sys.exit(" ".join({"torch", "transformers", "peft", "scipy"} & sys.modules.keys()) or 0)
"""


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("more", [(), ("scipy.stats",)])
def test_a_base_loads_and_computes_though_imports_left_something_out(more: tuple[str, ...]) -> None:
    done = run(LOADS, *more)
    assert done.returncode == 0, done.stderr


def test_services_that_compute_join_their_groups_before_they_import_what_takes_seconds() -> None:
    done = run(LIGHT)
    assert done.returncode == 0, f"imported at once: {done.stderr}"
