"""Whom not to believe: a user whose lessons contradict what others say of similar inputs far more often than theirs do.

Most inputs are seen once, so nobody else speaks of the very text that a liar names a wrong label for; but others speak
of its neighbours. What users correct is hard, and honest corrections contradict their neighbours too: so a user is
compared with the other users of the same increment, not with what the model was sure of. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import exp, lgamma, log

import torch
from torch import Tensor
from torch.nn import functional

NEIGHBOURS = 5
AGREE = 2  # of them name a row's label, else it contradicts them: one may be as wrong as the row
LEVEL = 0.01  # chance that any honest user of an increment is not believed
LEAST = 3  # lessons of a user that can tell anything of him
OTHERS = 30  # lessons by others below which there is nothing to compare a user with
BLOCK = 1024  # rows that are compared with all others at once


def doubted(vectors: Tensor, targets: Tensor, voices: Sequence[int | None], new: Sequence[int]) -> list[int]:
    """The new rows that contradict their neighbours and whose user does so far too often to be merely unlucky.

    Args:
        vectors: [rows, width], inputs near each other where they mean the same.
        targets: [rows], the label that each row names.
        voices: who gave each row; None is nobody by name.
        new: the rows to look at; the others are what the model has learned before.

    A user with n lessons, at least `LEAST`, of which c contradict, is doubted when P(Bin(n, r) ≥ c) is below `LEVEL`
    over the number of such users, with r the share of all other users' lessons that do (add-one).
    """
    judged = _judged(vectors, targets, voices, [row for row in new if voices[row] is not None])
    said, against = (
        Counter(voices[row] for row in judged),
        Counter(voices[row] for row, wrong in judged.items() if wrong),
    )
    known = [voice for voice, lessons in said.items() if lessons >= LEAST]
    liars = {voice for voice in known if _chance(voice, said, against) < LEVEL / len(known)}
    return [row for row, wrong in judged.items() if wrong and voices[row] in liars]


def _judged(vectors: Tensor, targets: Tensor, voices: Sequence[int | None], rows: Sequence[int]) -> dict[int, bool]:
    """Whether a row contradicts its neighbours among what others gave; only where they well could name its label."""
    if not rows:
        return {}
    unit = functional.normalize(vectors - vectors.mean(0), dim=-1)
    voice = torch.tensor([-1 if one is None else one for one in voices], device=vectors.device)
    found: dict[int, bool] = {}
    for start in range(0, len(rows), BLOCK):
        some = torch.tensor(rows[start : start + BLOCK], device=vectors.device)
        near = unit[some] @ unit.T
        own = voice[some][:, None] == voice
        same = targets[some][:, None] == targets
        could = (same & ~own).sum(1) >= NEIGHBOURS
        nearest = near.masked_fill(own, -2.0).topk(min(NEIGHBOURS, len(voices)), dim=1).indices
        alone = same.gather(1, nearest).sum(1) < AGREE
        found |= {
            row: wrong for row, wrong, fair in zip(some.tolist(), alone.tolist(), could.tolist(), strict=True) if fair
        }
    return found


def _chance(voice: int | None, said: Counter[int | None], against: Counter[int | None]) -> float:
    """How likely an honest user would contradict so often; 1 where there is nobody to compare one with."""
    others = said.total() - said[voice]
    if others < OTHERS:
        return 1.0
    rate = (against.total() - against[voice] + 1) / (others + 2)
    return _at_least(against[voice], said[voice], rate)


def _at_least(successes: int, n: int, rate: float) -> float:
    """P(Bin(n, rate) ≥ successes)."""
    ways = [lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) for k in range(successes, n + 1)]
    return sum(exp(way + k * log(rate) + (n - k) * log(1 - rate)) for k, way in enumerate(ways, successes))
