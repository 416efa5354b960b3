"""Numbers to try a loss on, and where it leads from there."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import settings
from torch import Tensor

untimed = settings(deadline=None)  # torch imports for a second when it is first asked


def numbers(seed: int, *shape: int) -> Tensor:
    """Random numbers in float64, with which differences are taken exactly enough."""
    return 3 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gradient(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    at = at.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(at), at)
    return found


def one(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)
