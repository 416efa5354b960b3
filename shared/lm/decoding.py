"""Answers in the making: a token of each at a time, so that others compute between two tokens.

Each answer keeps the adapter with which it began, whatever becomes of its version meanwhile. Decoding is greedy: what
the gate judged is what users get.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from transformers import DynamicCache

from shared.lm.lora import Lora, parts

if TYPE_CHECKING:
    from shared.lm.causal import Causal

UNFINISHED = "\ufffd"  # what stands for a character of which only the first bytes were said

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Limit:
    """When an answer ends, if it does not end by itself: after so many tokens, or before one of these texts."""

    tokens: int
    stops: tuple[str, ...] = ()


@dataclass
class Speech:
    """One answer in the making."""

    limit: Limit
    tokens: list[int] = field(default_factory=list)
    text: str = ""  # what can be told: nothing of it will be taken back
    finish: Finish | None = None

    def hear(self, token: int, end: int, said: str) -> None:
        """Take the next token; `said` is what all tokens but an ending one mean together."""
        found = min((place for stop in self.limit.stops if (place := said.find(stop)) >= 0), default=None)
        if found is not None:
            self.text, self.finish = said[:found], "stop"
        elif token == end:
            self.text, self.finish = said, "stop"
        elif len(self.tokens) >= self.limit.tokens:
            self.text, self.finish = said.removesuffix(UNFINISHED), "length"
        else:
            self.text = self._certain(said)

    def _certain(self, said: str) -> str:
        """What is said without an unfinished character or the beginning of a text that would end it."""
        if said.endswith(UNFINISHED):
            return self.text
        held = (size for stop in self.limit.stops for size in range(1, len(stop)) if said.endswith(stop[:size]))
        return said[: len(said) - max(held, default=0)]


class Decoding:
    """Several answers in the making, under adapters of their own. One thread computes."""

    def __init__(self, causal: Causal, texts: Sequence[str], loras: Sequence[Lora], limits: Sequence[Limit]) -> None:
        """Begin with the answers to these texts; nothing is computed yet."""
        self._causal = causal
        self.speeches = [Speech(limit) for limit in limits]
        self._open = sorted(range(len(texts)), key=lambda row: id(loras[row]))
        self._loras = [loras[row] for row in self._open]
        prompts = causal.prompts([texts[row] for row in self._open])
        width = max(map(len, prompts))
        self._next = torch.tensor([[causal.end] * (width - len(one)) + one for one in prompts], device=causal.on)
        self._mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in prompts], device=causal.on)
        self._cache = DynamicCache(config=causal.config)

    @property
    def is_over(self) -> bool:
        """Whether all answers have ended."""
        return not self._open

    def step(self) -> None:
        """Compute the next token of each answer that goes on.

        Raises:
            FloatingPointError: a version's weights overflow.
        """
        with torch.inference_mode(), self._causal.carried(parts(self._loras, [1] * len(self._loras), 0)):
            logits = self._causal.next_logits(self._next, self._mask, self._cache)
        if not torch.isfinite(logits).all():
            raise FloatingPointError("The answers are not finite.")
        best = logits.argmax(-1)
        for row, token in zip(self._open, best.tolist(), strict=True):
            self._hear(self.speeches[row], token)
        self._mask = torch.cat([self._mask, torch.ones_like(self._mask[:, :1])], -1)
        self._keep([place for place, row in enumerate(self._open) if not self.speeches[row].finish], best)

    def leave(self, gone: Sequence[int]) -> None:
        """Go on without some answers: who asked has hung up."""
        self._keep([place for place, row in enumerate(self._open) if row not in gone], self._next[:, -1])

    def _hear(self, speech: Speech, token: int) -> None:
        if token != self._causal.end:
            speech.tokens.append(token)
        speech.hear(token, self._causal.end, self._causal.text(speech.tokens))

    def _keep(self, places: list[int], following: Tensor) -> None:
        """Go on with these rows, and feed them what follows."""
        if len(places) < len(self._open):
            self._open = [self._open[place] for place in places]
            self._loras = [self._loras[place] for place in places]
            self._mask = self._mask[places]
            if self._cache.get_seq_length():
                self._cache.batch_select_indices(torch.tensor(places, dtype=torch.long, device=self._mask.device))
            if self._next.shape[1] > 1 and not self._cache.get_seq_length():
                self._next = self._next[places]
                return
        self._next = following[places, None]
