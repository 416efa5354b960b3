"""Answers in the making: a token of each at a time, so that others compute between two tokens.

Answers that are made at the same time share each step, whenever they began. Each keeps the adapter with which it began,
whatever becomes of its version meanwhile. Decoding is greedy: what the gate judged is what users get.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad
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


@dataclass(eq=False)
class Speech:
    """One answer in the making."""

    limit: Limit
    tokens: list[int] = field(default_factory=list)
    text: str = ""  # what can be told: nothing of it will be taken back
    finish: Finish | None = None
    overflowed: bool = False  # the version's weights did, and it ended by that

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be said."""
        return self.overflowed or self.finish is not None

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


@dataclass
class Rows:
    """Answers that are computed together.

    `ids` [rows, new] are fed next, after what the cache holds; `mask` is of both, 0 where a row is padded on the left.
    """

    speeches: list[Speech]
    loras: list[Lora]
    ids: Tensor
    mask: Tensor
    cache: DynamicCache


class Decoding:
    """Several answers in the making on one language model, under adapters of their own. One thread computes."""

    def __init__(self, causal: Causal) -> None:
        """Begin with none."""
        self._causal = causal
        self._groups: list[Rows] = []  # the first goes on; each other one begins

    @property
    def is_over(self) -> bool:
        """Whether all answers have ended."""
        return not self._groups

    def join(self, texts: Sequence[str], loras: Sequence[Lora], limits: Sequence[Limit]) -> list[Speech]:
        """Begin with the answers to these texts, beside those in the making; nothing is computed yet."""
        speeches = [Speech(limit) for limit in limits]
        order = sorted(range(len(texts)), key=lambda row: id(loras[row]))  # neighbours share an adapter's products
        prompts = self._causal.prompts([texts[row] for row in order])
        width, on = max(map(len, prompts)), self._causal.on
        ids = [[self._causal.end] * (width - len(one)) + one for one in prompts]
        mask = [[0] * (width - len(one)) + [1] * len(one) for one in prompts]
        self._groups.append(
            Rows(
                [speeches[row] for row in order],
                [loras[row] for row in order],
                torch.tensor(ids, device=on),
                torch.tensor(mask, device=on),
                DynamicCache(config=self._causal.config),
            )
        )
        return speeches

    def step(self) -> None:
        """Compute the next token of each answer that goes on."""
        for rows in self._groups:
            self._step(rows)
        self._groups = [rows for rows in self._groups if rows.speeches]
        if len(self._groups) > 1:
            self._groups = [_together(self._groups)]

    def leave(self, gone: Collection[Speech]) -> None:
        """Go on without some answers: who asked has hung up."""
        for rows in self._groups:
            _keep(rows, [place for place, one in enumerate(rows.speeches) if one not in gone])
        self._groups = [rows for rows in self._groups if rows.speeches]

    def _step(self, rows: Rows) -> None:
        with torch.inference_mode(), self._causal.carried(parts(rows.loras, [1] * len(rows.loras), 0)):
            logits = self._causal.next_logits(rows.ids, rows.mask, rows.cache)
        lowest, highest = logits.aminmax(dim=-1)  # NaN, where there is one
        sound, best = torch.isfinite(highest - lowest), logits.argmax(-1)
        for speech, token, is_sound in zip(rows.speeches, best.tolist(), sound.tolist(), strict=True):
            self._hear(speech, token, is_sound)
        rows.ids, rows.mask = best[:, None], pad(rows.mask, (0, 1), value=1)
        _keep(rows, [place for place, speech in enumerate(rows.speeches) if not speech.is_over])

    def _hear(self, speech: Speech, token: int, is_sound: bool) -> None:
        if not is_sound:
            speech.overflowed = True
            return
        if token != self._causal.end:
            speech.tokens.append(token)
        speech.hear(token, self._causal.end, self._causal.text(speech.tokens))


def _keep(rows: Rows, places: list[int]) -> None:
    """Go on with these rows, and forget columns in which all of them are padded."""
    if len(places) == len(rows.speeches):
        return
    rows.speeches, rows.loras = [rows.speeches[place] for place in places], [rows.loras[place] for place in places]
    if not places:
        return
    rows.ids, rows.mask = rows.ids[places], rows.mask[places]
    if not rows.cache.get_seq_length():
        return
    held = torch.tensor(places, device=rows.mask.device)
    cut = int(rows.mask.argmax(-1).min())
    layers: Sequence[Any] = rows.cache.layers  # each with keys and values [rows, heads, tokens, width]
    for layer in layers:
        layer.keys, layer.values = (one[held, :, cut:] for one in (layer.keys, layer.values))
    rows.mask = rows.mask[:, cut:]


def _together(groups: Sequence[Rows]) -> Rows:
    """Rows that all have begun, as one group: the shorter ones padded on the left, neighbours under one adapter."""
    speeches, loras = [one for rows in groups for one in rows.speeches], [one for rows in groups for one in rows.loras]
    order = sorted(range(len(speeches)), key=lambda row: id(loras[row]))
    place = {row: index for index, row in enumerate(order)}
    places = iter(range(len(order)))
    held = [torch.tensor([place[next(places)] for _ in rows.speeches], device=rows.mask.device) for rows in groups]

    def stacked(tensors: Sequence[Tensor], axis: int) -> Tensor:
        """Tensors of the groups, as one: their rows in order, and at the end of an axis what is theirs of it."""
        shape = [*tensors[0].shape]
        shape[0], shape[axis] = len(order), max(one.shape[axis] for one in tensors)
        found = tensors[0].new_zeros(shape)
        for rows, one in zip(held, tensors, strict=True):
            found.narrow(axis, shape[axis] - one.shape[axis], one.shape[axis])[rows] = one
        return found

    cache = groups[0].cache
    layers: Sequence[Sequence[Any]] = [rows.cache.layers for rows in groups]
    for layer, *others in zip(*layers, strict=True):
        layer.keys = stacked([one.keys for one in (layer, *others)], 2)
        layer.values = stacked([one.values for one in (layer, *others)], 2)
    ids, mask = stacked([rows.ids for rows in groups], 1), stacked([rows.mask for rows in groups], 1)
    return Rows([speeches[row] for row in order], [loras[row] for row in order], ids, mask, cache)
