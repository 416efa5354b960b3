"""What a language model learns from opinions: which of two outputs to say (DPO, SFT), and whether one is liked (KTO).

An opinion is two completions of one prompt: the preferred and the other; or the one that was judged, and one that
belongs to another prompt, by which KTO tells how far the model has moved as a whole. What the champion, the reference,
has to say of both is computed once, before anything has moved.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from shared.grading import tidy
from shared.lm.batches import by_length
from shared.lm.causal import Causal, Tokens
from shared.lm.losses import dpo_loss, kto_loss, sequence_log_probs
from shared.lm.task import Judged, Opinion, Preferred
from shared.policy import Training

SCORED = 8  # rows scored at once: each token has 49,152 logits, a fifth of a megabyte and as much again for its softmax


class Opinions:
    """Opinions as one language model learns from them; made while the champion's adapter is active."""

    def __init__(self, causal: Causal, opinions: Sequence[Opinion], config: Training) -> None:
        """Prepare all rows: tokens, and what the champion says of them."""
        self._causal, self._config = causal, config
        self._liked = {row: one.liked for row, one in enumerate(opinions) if isinstance(one, Judged)}
        self._weights = torch.tensor([one.weight for one in opinions], device=causal.on)
        self._prompts = causal.prompts([one.input for one in opinions])
        self._said, self._other = (causal.completions([tidy(one) for one in some]) for some in _outputs(opinions))
        champion = [log_probs(causal, self._prompts, some) for some in (self._said, self._other)]
        self._champion = torch.stack(champion, -1)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row, with the longer completion."""
        both = zip(self._said, self._other, strict=True)
        return [len(prompt) + max(map(len, said)) for prompt, said in zip(self._prompts, both, strict=True)]

    def loss(self, rows: Sequence[int]) -> Tensor:
        """What is minimised over some rows: the sum of their weighted losses."""
        judged = [row for row in rows if row in self._liked]
        pairs = [row for row in rows if row not in self._liked]
        loss = self._weights.new_zeros(())
        if pairs:
            loss = loss + self._config.preference * len(pairs) * self._preference(pairs)
        if judged:
            loss = loss + self._config.liking * len(judged) * self._liking(judged)
        return loss

    def _preference(self, rows: Sequence[int]) -> Tensor:
        """DPO, and to say the preferred output (Pang et al. 2024, arXiv:2404.19733, α = 1).

        DPO alone lets both become less likely as long as the other falls faster: eleven points of exact match were lost
        by it (docs/log.md).
        """
        both = [self._ratios(rows, place) for place in (0, 1)]
        weights, config = self._weights[list(rows)], self._config
        tokens = self._weights.new_tensor([len(self._said[row]) for row in rows])
        unsaid = -(both[0] + self._champion[list(rows), 0]) / tokens
        preferred = dpo_loss(*both, beta=config.beta, flipped=config.flipped, weights=weights)
        return preferred + (unsaid * weights).mean()

    def _liking(self, rows: Sequence[int]) -> Tensor:
        with torch.no_grad():
            mismatched = self._ratios(rows, 1)
        return kto_loss(
            self._ratios(rows, 0),
            torch.tensor([self._liked[row] for row in rows], device=self._weights.device),
            mismatched,
            beta=self._config.beta,
            weights=self._weights[list(rows)],
        )

    def _ratios(self, rows: Sequence[int], place: int) -> Tensor:
        """Log-ratios log π − log π_champion of the rows' first or second completions, [rows]."""
        completions = (self._said, self._other)[place]
        logits, labels = self._causal.logits([self._prompts[row] for row in rows], [completions[row] for row in rows])
        return sequence_log_probs(logits, labels) - self._champion[list(rows), place]


def log_probs(causal: Causal, prompts: Tokens, completions: Tokens) -> Tensor:
    """Log p of each completion under the active adapter, [rows], without gradients."""
    found = torch.empty(len(prompts), device=causal.on)
    with torch.inference_mode():
        for rows in by_length([[*one, *other] for one, other in zip(prompts, completions, strict=True)], SCORED):
            logits, labels = causal.logits([prompts[row] for row in rows], [completions[row] for row in rows])
            found[rows] = sequence_log_probs(logits, labels)
    return found


def _outputs(opinions: Sequence[Opinion]) -> tuple[list[str], list[str]]:
    """Both outputs of each opinion: with a judged one goes the one judged before it, or itself when it is alone."""
    judged = [one.output for one in opinions if isinstance(one, Judged)]
    before = iter([*judged[-1:], *judged[:-1]])
    said = [one.chosen if isinstance(one, Preferred) else one.output for one in opinions]
    return said, [one.rejected if isinstance(one, Preferred) else next(before) for one in opinions]
