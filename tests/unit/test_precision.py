"""In which numbers a base computes is the machine's doing, not that of who else is on it."""

from __future__ import annotations

import os
import subprocess
import sys

import torch
from torch import nn

from shared.lm.precision import bf16_pays

SPIN = "while True: pass"
LOOKS = 10  # by the clock, beside as many neighbours, half of them chose otherwise


def test_neighbours_do_not_change_in_which_numbers_a_base_computes() -> None:
    layer = nn.ModuleDict({"dense": nn.Linear(384, 1536)})
    model = nn.ModuleDict({"layer": nn.ModuleList([layer])}).requires_grad_(False)
    spinning = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        assert len({bf16_pays(model, torch.device("cpu")) for _ in range(LOOKS)}) == 1
    finally:
        for process in spinning:
            process.kill()
            process.wait()
