"""The forward of a packed row as one program, which runs without the interpreter, and so without its lock.

Run by Python, a row is some hundred operations, and before each of them the thread that computes waits for the lock
that the thread of the requests holds. Traced once, it is one call, in which others may do what they like. The weights
of the linear maps come from outside: each version brings its own, with its adapter in them.

torch calls `jit.trace` deprecated. What is to follow it needs a C++ compiler where it serves, or runs in the
interpreter; both are what this is not (docs/decisions/0032).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

from shared.lm.lora import holding
from shared.lm.packing import Packed

ATTENTION = "packed"
ALIKE = 0.02  # how far two unit vectors of one text may be apart in bfloat16: 0.002 to 0.005 were seen
PROBE = (
    "when is my flight",
    "no",
    "could you tell me how much money there is on my savings account",
    "when is my flight " * 20 + "how much money " * 30,  # whoever hears neighbours alone hears one half of it
)

Program = Callable[..., Tensor]  # of the fields of `Packed`, and of the weights of all linear maps in their order


def trace(
    model: Any, linears: Sequence[nn.Linear], bf16: bool, texts: Sequence[list[int]], padded: Tensor
) -> Program | None:
    """Unit vectors [texts, width] of a packed row: mean over tokens, normalised.

    None where the program does not say of the texts, of which the first ones are traced, what the model says of them
    padded: its architecture takes no places from outside, does not count them from zero, or hears neighbours alone.
    """
    weights = [one.weight for one in linears]
    try:
        made = _trace(model, linears, bf16, Packed.of(texts[:2]), weights)
        return made if (made(*Packed.of(texts), *weights) - padded).norm(dim=-1).max() < ALIKE else None
    except (TypeError, ValueError, RuntimeError, IndexError):  # it has no such argument, or no such place
        return None


def _trace(model: Any, linears: Sequence[nn.Linear], bf16: bool, example: Packed, weights: Sequence[Tensor]) -> Program:
    def forward(*given: Tensor) -> Tensor:
        packed, weights = Packed(*given[: -len(linears)]), given[-len(linears) :]
        with holding(linears, weights), torch.autocast("cpu", torch.bfloat16, bf16, cache_enabled=False):
            out = model(input_ids=packed.ids, position_ids=packed.places, packed=packed).last_hidden_state
        sums = torch.zeros(packed.lengths.shape[0], out.shape[-1]).index_add_(0, packed.text, out[0].float())
        return functional.normalize(sums / packed.lengths[:, None], dim=-1)

    with attending(model, ATTENTION), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and Python decides on the way; the caller compares
        return cast(Program, torch.jit.trace(forward, (*example, *weights), check_trace=False))  # type: ignore[no-untyped-call]


@contextmanager
def attending(model: Any, how: str) -> Iterator[None]:
    """Within the block a model computes attention so, by the name that transformers has for it."""
    answering = model.config._attn_implementation
    model.set_attn_implementation(how)
    try:
        yield
    finally:
        model.set_attn_implementation(answering)


def _attend(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: None,
    *,
    packed: Packed,
    scaling: float,
    **_: object,
) -> tuple[Tensor, None]:
    """What each token hears of its own text; query, key and value are [1, heads, tokens, width of a head]."""
    query, key, value = (_apart(one, packed) for one in (query, key, value))
    weights = ((query @ key.transpose(-1, -2)).float() * scaling + packed.hidden).softmax(-1).to(value.dtype)
    heard = (weights @ value).transpose(1, 2).flatten(2).flatten(0, 1)
    return functional.embedding(packed.spots, heard).view(1, -1, *query.shape[1::2]), None


def _apart(row: Tensor, packed: Packed) -> Tensor:
    """[1, heads, tokens, width of a head] → [texts, heads, longest, width of a head]."""
    tokens = row[0].transpose(0, 1)
    padded: Tensor = functional.embedding(packed.tokens, tokens.flatten(1))
    return padded.view(*packed.tokens.shape, *tokens.shape[1:]).transpose(1, 2)


AttentionInterface.register(ATTENTION, _attend)
