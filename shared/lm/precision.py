"""In which numbers a base computes: bfloat16 on a GPU that has it and where a probe of the CPU shows that it pays."""

from __future__ import annotations

import time

import torch
from torch import nn
from torch.nn import functional

from shared.lm.devices import on_one_core
from shared.lm.lora import INNER

PROBE_ROWS = 256  # tokens through one linear map: all of the model would take 0.6 s of a restart
PROBES = 5  # the best of so many: the first pays for warm-up


def bf16_pays(model: nn.Module, device: torch.device) -> bool:
    """Whether bfloat16 is faster here: without avx512_bf16 or AMX a CPU is slower in it (pytorch#86550).

    By the time of one core, which does not pass while neighbours have it: by the clock, a base that was loaded beside
    other work chose float32 and stayed half as fast (docs/log.md).
    """
    if device.type != "cpu":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    inner = (one for name, one in model.named_modules() if type(one) is nn.Linear and INNER.search(name))
    weight = max((one.weight.detach() for one in inner), key=torch.numel)
    weights, rows = {False: weight, True: weight.bfloat16()}, torch.ones(PROBE_ROWS, weight.shape[1])
    seconds = {False: float("inf"), True: float("inf")}
    with on_one_core(), torch.inference_mode():
        for bf16 in (False, True) * PROBES:
            start = time.thread_time()
            functional.linear(rows.to(weights[bf16]), weights[bf16])
            seconds[bf16] = min(seconds[bf16], time.thread_time() - start)
    return seconds[True] < seconds[False]


def narrow(model: nn.Module) -> None:
    """Linear maps in bfloat16, so that none is converted at each step; what runs between them stays in float32."""
    for part in model.modules():
        if type(part) is nn.Linear:
            part.weight = nn.Parameter(part.weight.bfloat16(), requires_grad=False)
