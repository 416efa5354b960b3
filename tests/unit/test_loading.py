"""What takes seconds to import comes after what may be wrong, and nothing is missing afterwards."""

from __future__ import annotations

import subprocess
import sys

LOADS = """
import gc, sys
from shared.lm import loading
loading.load()
assert gc.isenabled()
assert "shared.lm.classification" in sys.modules
assert not {"scipy", "triton", "jinja2", "dill"} & sys.modules.keys(), "they take most of a second"
import scipy.stats, triton
encoder = loading.task("classification", "all-MiniLM-L6-v2", threads=1).encoder
encoder.create("fresh", rank=4, layers=2)
vectors = encoder.embed(encoder.tokens(["where is my order", "what is my balance"]), "fresh")
assert vectors.shape == (2, encoder.width)
from shared.lm.causal import Causal
assert Causal("SmolLM2-135M-Instruct").prompts(["where is my order"]), "its template needs jinja2"
"""

LIGHT = """
import sys
import services.evaluator.__main__, services.predictor.__main__, services.trainer.__main__
sys.exit(" ".join({"torch", "transformers", "peft", "scipy"} & sys.modules.keys()) or 0)
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


def test_a_base_loads_and_computes_though_imports_left_something_out() -> None:
    done = run(LOADS)
    assert done.returncode == 0, done.stderr


def test_services_that_compute_read_their_settings_before_they_import_what_takes_seconds() -> None:
    done = run(LIGHT)
    assert done.returncode == 0, f"imported at once: {done.stderr}"
