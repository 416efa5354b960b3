"""Texts of unlike length as one row without padding: each sees itself alone, and its places are counted from zero.

Half of a padded batch of short questions is padding, and a linear map computes that too. In a packed row there is none.
Attention alone is computed on padded texts, so that none sees another: of short texts it is little, and rows hold texts
of like length (docs/decisions/0032).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

Tokens = Sequence[Sequence[int]]
LEAST = 16  # padded places of a text, what a vector of AVX-512 holds: a softmax over 15 takes four times as long
SPREAD = 3  # padded places for each token at which a row ends; up to here attention costs less than another row


class Packed(NamedTuple):
    """One row of n texts, and what leads from it to the texts padded, and back.

    Token ids [1, tokens], their places [1, tokens] and the text of each [tokens]; the token in each padded place
    [n, longest], the padded place of each token [tokens], what hides places that hold none [n, 1, 1, longest]; and how
    long each text is [n]. Padded, a text has `LEAST` places or more.
    """

    ids: Tensor
    places: Tensor
    text: Tensor
    tokens: Tensor
    spots: Tensor
    hidden: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, texts: Tokens) -> Packed:
        """Pack them in this order."""
        lengths = torch.tensor([len(one) for one in texts])
        ids = torch.tensor([token for one in texts for token in one])
        place = torch.arange(max(LEAST, int(lengths.max())))
        taken = place < lengths[:, None]
        starts = lengths.cumsum(0) - lengths
        return cls(
            ids[None],
            place.expand(taken.shape)[taken][None],
            torch.repeat_interleave(torch.arange(len(texts)), lengths),
            torch.where(taken, starts[:, None] + place, 0),
            taken.flatten().nonzero().flatten(),
            torch.zeros(taken.shape).masked_fill_(~taken, torch.finfo(torch.float32).min)[:, None, None],
            lengths,
        )


def rows(lengths: Sequence[int], owners: Sequence[str], limit: int) -> Iterator[list[int]]:
    """Texts by number as rows of about `limit` tokens: of one owner each, of like length, and as long as each other."""
    order = sorted(range(len(lengths)), key=lambda text: (owners[text], lengths[text]))
    for _, texts in groupby(order, key=lambda text: owners[text]):
        for alike in _alike(lengths, [*texts]):
            yield from _even(lengths, alike, limit)


def _alike(lengths: Sequence[int], texts: Sequence[int]) -> Iterator[list[int]]:
    """Texts, the shortest first, cut where padding them to the longest would be too much."""
    row: list[int] = []
    tokens = 0
    for text in texts:
        if row and (len(row) + 1) * lengths[text] > SPREAD * (tokens + lengths[text]):
            yield row
            row, tokens = [], 0
        row.append(text)
        tokens += lengths[text]
    if row:
        yield row


def _even(lengths: Sequence[int], texts: Sequence[int], limit: int) -> Iterator[list[int]]:
    """Texts cut into as many rows as bring each nearest to the limit; each goes where its middle falls."""
    total = sum(lengths[text] for text in texts)
    count = max(1, round(total / limit))
    found: list[list[int]] = [[] for _ in range(count)]
    before = 0
    for text in texts:
        found[int((before + lengths[text] / 2) * count / total)].append(text)
        before += lengths[text]
    yield from filter(None, found)
