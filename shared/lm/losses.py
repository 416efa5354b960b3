"""What is minimised when a model learns from feedback: tensors in, one number out.

Where a loss speaks of a text, `logits` are [rows, tokens, vocabulary] and `labels` are [rows, tokens]: the token ids,
and IGNORED for the prompt and the padding, not shifted (those at one place predict the label of the next). All
logarithms are natural. A row's weight multiplies its loss, and the sum is divided by the count of rows or tokens, not
by that of the weights: these have mean 1 over the snapshot, and doubtful rows alone in a batch must move it little.
Every function raises ValueError for rows that it could only answer with NaN or with a silent zero.

SFT, DPO and KTO equal TRL's to 1e-5, gradients too (tests/unit/test_losses_trl.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

IGNORED = -100  # as in transformers and torch
LIKELIEST = 32  # of 49,152 tokens: nearly all of what a model that knows its task believes


def sequence_log_probs(logits: Tensor, labels: Tensor) -> Tensor:
    """Each completion's log-probability, Σ_t log p(y_t | y_<t), summed over its tokens: [rows].

    Only the completions' logits are widened and normalised, and kept once for the backward pass. Torch's fused cross
    entropy takes half of the time that logit − logsumexp takes.
    """
    kept, targets = _completions(labels)
    log_probs = -functional.cross_entropy(_wide(logits[:, :-1][kept]), targets[kept], reduction="none")
    return log_probs.new_zeros(kept.shape).masked_scatter(kept, log_probs).sum(-1)


def sft_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross entropy of the completions, Σ_i w_i Σ_t −log p(y_it) / Σ_i T_i, in nats per token.

    The mean is over tokens, as TRL's and transformers', so a long completion counts for more than a short one.
    """
    kept, _ = _completions(labels)
    losses = -sequence_log_probs(logits, labels)
    return (losses * _weights(losses, weights)).sum() / kept.sum()


def dpo_loss(
    chosen: Tensor, rejected: Tensor, *, beta: float, flipped: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """Preference loss of pairs; with Δ = chosen − rejected it is −[(1−ε) log σ(βΔ) − ε log σ(−βΔ)] / (1−2ε).

    DPO (Rafailov et al. 2023, arXiv:2305.18290) where ε = 0; else rDPO (Chowdhury et al. 2024, arXiv:2403.00409), whose
    expectation is DPO's on clean pairs where a share ε of them was given the wrong way round. TRL: `sigmoid`, `robust`.
    Unlike DPO's, rDPO's pull never fades: βε / (1−2ε) a nat is left however sure the model is, so stop early.

    Args:
        chosen: log-ratios log π(y|x) − log π_champion(y|x) of the preferred completions, [pairs], by
            `sequence_log_probs`; the champion's part takes no gradient.
        rejected: those of the others, [pairs].
        beta: how much a nat of log-ratio says; the larger, the nearer to the champion.
        flipped: ε, the share of pairs expected to be the wrong way round, in [0, .5).
        weights: [pairs].
    """
    if not 0 <= flipped < 0.5:
        raise ValueError(f"of pairs of which {flipped} are flipped nothing can be learned: give less than 0.5")
    _same(chosen, rejected, "chosen and rejected")
    margins = beta * (chosen - rejected)
    clean, wrong = functional.logsigmoid(margins), functional.logsigmoid(-margins)
    return _mean((flipped * wrong - (1 - flipped) * clean) / (1 - 2 * flipped), weights)


def kto_loss(
    ratios: Tensor,
    desirable: Tensor,
    mismatched: Tensor,
    *,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Loss of single completions that were liked or not: λ (1 − σ(±β(r − z))), + and λ_D if liked, − and λ_U if not.

    KTO (Ethayarajh et al. 2024, arXiv:2402.01306). z, how far the model has moved from the champion, is the
    mean log-ratio of inputs with another row's completion, not below 0 and without gradient. TRL: `kto`.

    Args:
        ratios: log-ratios log π(y|x) − log π_champion(y|x), [rows]; the champion's part takes no gradient.
        desirable: whether the completion was liked, bool [rows].
        mismatched: the same log-ratios of mismatched completions, [any number]: best each input of the batch with the
            completion of the row before it. They take no gradient, so compute them without.
        beta: how much a nat of log-ratio says.
        desirable_weight: λ_D; the paper keeps λ_D n_D / (λ_U n_U) within [1, 4/3] where likes and dislikes are uneven.
        undesirable_weight: λ_U.
        weights: [rows].
    """
    _same(ratios, desirable, "ratios and desirable")
    if desirable.dtype != torch.bool:
        raise ValueError(f"desirable is {desirable.dtype}: give bool")
    if not mismatched.numel():
        raise ValueError("no mismatched completion to estimate the divergence from: a batch needs two rows")
    moved = mismatched.detach().mean().clamp(min=0)
    gains = beta * torch.where(desirable, ratios - moved, moved - ratios)
    sides = torch.where(desirable, desirable_weight, undesirable_weight)
    return _mean(sides * torch.sigmoid(-gains), weights)


def champion_kl(logits: Tensor, champion: Tensor, labels: Tensor) -> Tensor:
    """KL(champion ‖ candidate) of the next token, mean over the completions' tokens, in nats: what replay must keep.

    Forward: the candidate must give mass to all that the champion would say (Hinton et al. 2015, arXiv:1503.02531, at
    temperature 1; GKD, Agarwal et al. 2023, arXiv:2306.13649, with β = 0). `champion`: its logits on the same tokens,
    [rows, tokens, vocabulary]; they take no gradient.
    """
    _same(logits, champion, "the candidate's and the champion's logits")
    kept, _ = _completions(labels)
    return _kl(_wide(logits[:, :-1][kept]), _wide(champion[:, :-1][kept])).mean()


@dataclass(frozen=True)
class Likely:
    """The tokens that the champion finds likeliest at each place of one completion, ids and log p [places, most]."""

    ids: Tensor
    log_probs: Tensor


def likeliest(logits: Tensor, labels: Tensor, most: int = LIKELIEST) -> list[Likely]:
    """What a champion, whose logits these are, would say at each place of the completions, row by row.

    It is 1,500 times less than the logits, so that all replayed rows' can be kept while their increment is trained.
    """
    kept, _ = _completions(labels)
    top = _wide(logits[:, :-1][kept]).log_softmax(-1).topk(min(most, logits.shape[-1]))
    places = kept.sum(-1).tolist()
    return list(map(Likely, torch.split(top.indices, places), torch.split(top.values, places)))


def kept_kl(logits: Tensor, labels: Tensor, champion: Sequence[Likely]) -> Tensor:
    """KL(champion ‖ candidate) of the next token where the champion's less likely ones count as one: mean over tokens.

    Never more than `champion_kl` (the log-sum inequality), and equal to it when all tokens are among the likeliest.
    """
    kept, _ = _completions(labels)
    ids, log_probs = (torch.cat([getattr(one, name) for one in champion]) for name in ("ids", "log_probs"))
    picked = _wide(logits[:, :-1][kept])
    whole = picked.logsumexp(-1, keepdim=True)
    others = picked.scatter(-1, ids, -torch.inf).logsumexp(-1) - whole.squeeze(-1)
    wanted = log_probs.exp()
    rest = (1 - wanted.sum(-1)).clamp(min=0)
    likely = (wanted * (log_probs - picked.gather(-1, ids) + whole)).sum(-1)
    if ids.shape[-1] == logits.shape[-1]:  # nothing is left over
        return likely.mean()
    return (likely + torch.xlogy(rest, rest) - rest * others).mean()


def distillation_loss(
    logits: Tensor, champion: Tensor, *, temperature: float = 1.0, weights: Tensor | None = None
) -> Tensor:
    """T² KL(softmax(z_champion / T) ‖ softmax(z / T)) over labels, mean over rows, in nats.

    Hinton et al. 2015 (arXiv:1503.02531), whose T² keeps the gradient's size; on stored logits of replay rows as dark
    experience replay does (Buzzega et al. 2020, arXiv:2004.07211, which takes their squared distance instead: KL alone
    does not see a constant added to all logits). Where the head has grown since, give the columns the champion knew.

    Args:
        logits: the candidate's, [rows, labels].
        champion: the stored ones, [rows, labels]; they take no gradient.
        temperature: T > 0; above 1, what the champion thought of the other labels counts for more.
        weights: [rows].
    """
    if temperature <= 0:
        raise ValueError(f"a temperature of {temperature} has no distribution: give more than 0")
    _same(logits, champion, "the candidate's and the champion's logits")
    losses = _kl(_wide(logits) / temperature, _wide(champion) / temperature)
    return _mean(temperature**2 * losses, weights)


def complementary_loss(logits: Tensor, wrong: Tensor, weights: Tensor | None = None) -> Tensor:
    """−log(1 − p_y) of the label y that someone said is wrong, mean over rows, in nats.

    Negative learning (Kim et al. 2019, arXiv:1908.07387). Computed as logsumexp(z) − logsumexp(z without y), which
    neither overflows nor loses its gradient where p_y rounds to 1.

    Args:
        logits: [rows, labels], two labels or more: of one alone nothing else could be right.
        wrong: the index of y, [rows].
        weights: [rows].
    """
    if logits.shape[-1] < 2:
        raise ValueError("the only label cannot be wrong: give logits of two labels or more")
    logits = _wide(logits)
    others = logits.scatter(-1, wrong.unsqueeze(-1), -torch.inf)
    return _mean(logits.logsumexp(-1) - others.logsumexp(-1), weights)


def _completions(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Where a next token is learned, and which: bool and ids, both [rows, tokens − 1]."""
    targets = labels[:, 1:]
    kept = targets != IGNORED
    empty = (~kept.any(-1)).nonzero().flatten().tolist()
    if empty or not len(labels):
        raise ValueError(f"no token to learn in rows {empty} of {len(labels)}: leave out rows without a completion")
    return kept, targets


def _kl(logits: Tensor, target: Tensor) -> Tensor:
    """KL(softmax(target) ‖ softmax(logits)) over the last dimension; the target takes no gradient."""
    log_probs, wanted = logits.log_softmax(-1), target.detach().log_softmax(-1)
    return functional.kl_div(log_probs, wanted, reduction="none", log_target=True).sum(-1)


def _wide(logits: Tensor) -> Tensor:
    """At least float32: in bfloat16 a token's log-probability is off by .02 nats in the mean (vocabulary of 49,152)."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    """The weighted losses' sum over their count."""
    if not losses.numel():
        raise ValueError("no rows, so no loss: give at least one")
    return (losses * _weights(losses, weights)).mean()


def _weights(losses: Tensor, weights: Tensor | None) -> Tensor:
    """The rows' weights, 1 where none are given."""
    if weights is None:
        return torch.ones_like(losses)
    _same(losses, weights, "losses and weights")
    return weights


def _same(one: Tensor, other: Tensor, what: str) -> None:
    """Refuse shapes that torch would broadcast into something that nobody means."""
    if one.shape != other.shape:
        raise ValueError(f"{what} differ in shape: {tuple(one.shape)} and {tuple(other.shape)}")
