"""Texts of unlike length as one row without padding: each sees itself alone, and its places are counted from zero.

Half of a padded batch of short questions is padding, and a linear map computes that too. In a packed row there is none;
attention pays for it with the square of the row, so rows are kept short (docs/decisions/0025).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

Tokens = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Packed:
    """One row: token ids and their places [1, tokens], who sees whom [1, 1, tokens, tokens], whose each is [tokens]."""

    ids: Tensor
    places: Tensor
    mask: Tensor
    text: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, texts: Tokens) -> Packed:
        """Pack them in this order."""
        lengths = torch.tensor([len(one) for one in texts])
        text = torch.repeat_interleave(torch.arange(len(texts)), lengths)
        places = torch.cat([torch.arange(len(one)) for one in texts])
        ids = torch.tensor([token for one in texts for token in one])
        others = text[:, None] != text[None]
        mask = torch.zeros(others.shape).masked_fill_(others, torch.finfo(torch.float32).min)
        return cls(ids[None], places[None], mask[None, None], text, lengths)

    def means(self, hidden: Tensor) -> Tensor:
        """Each text's mean over its tokens, normalised [texts, width], of hidden states [1, tokens, width]."""
        sums = torch.zeros(len(self.lengths), hidden.shape[-1]).index_add_(0, self.text, hidden[0].float())
        return functional.normalize(sums / self.lengths[:, None], dim=-1)


def rows(lengths: Sequence[int], order: Sequence[int], limit: int) -> Iterator[list[int]]:
    """Texts by number, in an order, as rows of at most `limit` tokens; a longer text is a row of its own."""
    row: list[int] = []
    left = limit
    for text in order:
        if row and lengths[text] > left:
            yield row
            row, left = [], limit
        row.append(text)
        left -= lengths[text]
    if row:
        yield row
