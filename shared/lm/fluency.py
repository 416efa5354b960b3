"""What keeps a language model fluent while it learns a task: plain texts, which it shall read as its base does.

Corrections alone raised the perplexity of plain English by 14 % in eight increments, and by 35 % at once (docs/log.md).
So some of the inputs are rows of their own too, as plain texts without a chat's frame, and leaving the base on them
costs KL(base ‖ candidate) of each next token. The reference is the base, so that what is lost does not add up.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from shared.lm.batches import by_length
from shared.lm.causal import Causal
from shared.lm.losses import Likely, kept_kl, likeliest
from shared.lm.prompts import MAX_NEW

EVERY = 4  # of so many inputs one
SCORED = 16  # rows scored at once


class Fluency:
    """Plain texts as one language model learns from them; it must not be learning yet."""

    def __init__(self, causal: Causal, inputs: Sequence[str], weight: float) -> None:
        """Take some inputs, none if they weigh nothing, and ask the base what it would say at each place of them."""
        self._causal, self._weight = causal, weight
        tokens = causal.tokens(inputs[::EVERY]) if weight else []
        self._texts = [one[:MAX_NEW] for one in tokens if len(one) > 1]
        self._base: dict[int, Likely] = {}
        with torch.inference_mode(), causal.carried(()):
            for rows in by_length(self._texts, SCORED):
                self._base.update(zip(rows, likeliest(*self._read(rows)), strict=True))

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return [*map(len, self._texts)]

    def loss(self, rows: Sequence[int]) -> Tensor:
        """What is minimised over some rows: as many times the weighted mean over their tokens."""
        return self._weight * len(rows) * kept_kl(*self._read(rows), [self._base[row] for row in rows])

    def _read(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Logits and labels of texts as the continuations of their first tokens."""
        texts = [self._texts[row] for row in rows]
        return self._causal.logits([one[:1] for one in texts], [one[1:] for one in texts])
