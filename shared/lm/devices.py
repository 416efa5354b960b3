"""What a base computes on: a GPU where there is one and it may be taken, else the CPU, on all cores or on one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from shared.errors import ConfigError


def chosen(wanted: str) -> torch.device:
    """The device for `auto`, `cpu` or `cuda`; of several GPUs the first that CUDA shows.

    Raises:
        ConfigError: a GPU is asked for, and there is none.
    """
    there = wanted != "cpu" and torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise ConfigError("CUDA finds no GPU: look at its driver and at CUDA_VISIBLE_DEVICES, or ask for auto or cpu.")
    return torch.device("cuda" if there else "cpu")


def called(device: torch.device) -> str:
    """How a device is told of in manifests."""
    if device.type == "cpu":
        return f"cpu, {torch.get_num_threads()} threads"
    return f"{device.type}, {torch.cuda.get_device_name(device)}"


@contextmanager
def on_one_core() -> Iterator[None]:
    """Within the block this thread shares no product with others: what is small would wait for them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
