"""In which numbers a base computes: bfloat16 on a GPU that has it and where a probe of the CPU shows that it pays."""

from __future__ import annotations

import time

import torch
from torch import nn

from shared.lm.lora import INNER

PROBE_ROWS = 256  # tokens through one linear map: all of the model would take 0.6 s of a restart
PROBES = 5  # the best of so many: the first pays for warm-up, others may have lost the core to a neighbour


def bf16_pays(model: nn.Module, device: torch.device) -> bool:
    """Whether bfloat16 is faster here: without avx512_bf16 or AMX a CPU is slower in it (pytorch#86550)."""
    if device.type != "cpu":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    inner = (one for name, one in model.named_modules() if type(one) is nn.Linear and INNER.search(name))
    linear = max(inner, key=lambda one: one.weight.numel())
    rows = torch.ones(PROBE_ROWS, linear.in_features)
    seconds = {False: float("inf"), True: float("inf")}
    for bf16 in (False, True) * PROBES:
        start = time.perf_counter()
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            linear(rows)
        seconds[bf16] = min(seconds[bf16], time.perf_counter() - start)
    return seconds[True] < seconds[False]


def narrow(model: nn.Module) -> None:
    """Linear maps in bfloat16, so that none is converted at each step; what runs between them stays in float32."""
    for part in model.modules():
        if type(part) is nn.Linear:
            part.weight = nn.Parameter(part.weight.bfloat16(), requires_grad=False)
