"""The losses of learning from feedback: what they do not see, where they lead, their limits, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch import Tensor
from torch.distributions import Categorical, kl_divergence
from torch.nn import functional

from shared.lm.losses import (
    IGNORED,
    champion_kl,
    complementary_loss,
    distillation_loss,
    dpo_loss,
    kept_kl,
    kto_loss,
    likeliest,
    sequence_log_probs,
    sft_loss,
)
from tests.unit.loss_numbers import gradient, numbers, one, untimed

VOCABULARY = 7
LABELS = torch.tensor([[IGNORED, IGNORED, 3, 5], [IGNORED, 2, 0, IGNORED], [IGNORED, 6, 1, 4]])
TOKENS = (LABELS != IGNORED).sum().item()
LIKED = torch.tensor([True, False, True])
seeds = some.integers(0, 2**16)


def logits(seed: int = 0) -> Tensor:
    return numbers(seed, *LABELS.shape, VOCABULARY)


THREE = torch.tensor([0.5, 2.0, 0.0], dtype=torch.float64)
LOSSES: dict[str, tuple[Callable[[Tensor], Tensor], Tensor]] = {
    "sequence": (lambda at: sequence_log_probs(at, LABELS), logits()),
    "sft": (lambda at: sft_loss(at, LABELS, THREE), logits()),
    "dpo chosen": (lambda at: dpo_loss(at, numbers(2, 3), beta=0.3, weights=THREE), numbers(1, 3)),
    "dpo rejected": (lambda at: dpo_loss(numbers(2, 3), at, beta=0.3, flipped=0.2), numbers(1, 3)),
    "kto": (lambda at: kto_loss(at, LIKED, one(0.4), beta=0.3, desirable_weight=1.3, weights=THREE), numbers(1, 3)),
    "champion": (lambda at: champion_kl(at, logits(1), LABELS), logits()),
    "kept": (lambda at: kept_kl(at, LABELS, likeliest(logits(1), LABELS, 3)), logits()),
    "distillation": (
        lambda at: distillation_loss(at, numbers(2, 3, 5), temperature=2.0, weights=THREE),
        numbers(1, 3, 5),
    ),
    "complementary": (lambda at: complementary_loss(at, torch.tensor([0, 4, 2]), THREE), numbers(1, 3, 5)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_what_finite_differences_say(name: str) -> None:
    loss, at = LOSSES[name]
    assert torch.autograd.gradcheck(loss, at.clone().requires_grad_())


@pytest.mark.parametrize("name", ["sequence", "sft", "champion", "distillation", "complementary"])
@untimed
@given(constant=some.floats(-50, 50))
def test_a_constant_added_to_all_logits_of_a_place_changes_nothing(name: str, constant: float) -> None:
    loss, at = LOSSES[name]
    torch.testing.assert_close(loss(at + constant), loss(at))


PER_ROW: dict[str, Callable[[slice, Tensor | None], Tensor]] = {
    "dpo": lambda of, weights: dpo_loss(numbers(1, 3)[of], numbers(2, 3)[of], beta=0.3, weights=weights),
    "kto": lambda of, weights: kto_loss(numbers(1, 3)[of], LIKED[of], one(0.4), beta=0.3, weights=weights),
    "distillation": lambda of, weights: distillation_loss(numbers(1, 3, 5)[of], numbers(2, 3, 5)[of], weights=weights),
    "complementary": lambda of, weights: complementary_loss(numbers(1, 3, 5)[of], torch.arange(3)[of], weights),
}


@pytest.mark.parametrize("name", PER_ROW)
def test_each_row_counts_as_much_as_it_weighs(name: str) -> None:
    loss = PER_ROW[name]
    first, second = (loss(slice(row, row + 1), None).item() for row in range(2))
    assert loss(slice(3), THREE).item() == pytest.approx((0.5 * first + 2 * second) / 3)
    assert loss(slice(3), torch.ones_like(THREE)).item() == loss(slice(3), None).item()


# --- completions -------------------------------------------------------------------------------------------------


@untimed
@given(seeds)
def test_a_completions_log_probability_is_the_sum_of_its_tokens(seed: int) -> None:
    made = logits(seed)
    log_probs = made.log_softmax(-1)
    by_hand = [
        sum(log_probs[row, place - 1, label] for place, label in enumerate(LABELS[row]) if label != IGNORED)
        for row in range(len(LABELS))
    ]
    torch.testing.assert_close(sequence_log_probs(made, LABELS), torch.stack([torch.as_tensor(it) for it in by_hand]))


def test_prompt_and_padding_teach_nothing() -> None:
    learned = gradient(lambda at: sft_loss(at, LABELS), logits()).abs().sum(-1) > 0
    assert torch.equal(learned[:, :-1], LABELS[:, 1:] != IGNORED)
    assert not learned[:, -1].any(), "nothing comes after the last token"


def test_a_model_that_knows_nothing_pays_the_vocabularys_logarithm_for_each_token() -> None:
    assert sft_loss(torch.zeros_like(logits()), LABELS).item() == pytest.approx(math.log(VOCABULARY))


def test_weights_count_whole_rows_and_keep_their_size() -> None:
    each = -sequence_log_probs(logits(), LABELS)
    assert sft_loss(logits(), LABELS, THREE).item() == pytest.approx(((0.5 * each[0] + 2 * each[1]) / TOKENS).item())
    halved = sft_loss(logits(), LABELS, torch.full([3], 0.5, dtype=torch.float64))
    assert halved.item() == pytest.approx(sft_loss(logits(), LABELS).item() / 2), "doubtful rows alone move it less"
    assert not gradient(lambda at: sft_loss(at, LABELS, THREE), logits())[2].any(), "a row without weight"


def test_only_the_completions_are_kept_for_the_backward_pass() -> None:
    labels = torch.full([4, 64], IGNORED)
    labels[:, -8:] = 1
    made, kept = torch.zeros(4, 64, 512, requires_grad=True), dict[int, int]()

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        log_probs = sequence_log_probs(made, labels)
    assert log_probs.requires_grad
    assert made.nbytes * 8 / 64 <= sum(kept.values()) < 1.1 * made.nbytes * 8 / 64


def test_half_precision_logits_are_summed_in_single() -> None:
    made = torch.randn(2, 40, 5000, generator=torch.Generator().manual_seed(0)).bfloat16()
    labels = torch.randint(5000, (2, 40), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(sequence_log_probs(made, labels), sequence_log_probs(made.float(), labels))
    assert sequence_log_probs(made, labels).dtype == torch.float32


# --- staying near the champion -----------------------------------------------------------------------------------


def test_divergence_is_that_of_the_distributions_over_the_completions() -> None:
    made, champion = logits(0), logits(1)
    each = kl_divergence(Categorical(logits=champion), Categorical(logits=made))[:, :-1]
    wanted = each[LABELS[:, 1:] != IGNORED].mean()
    torch.testing.assert_close(champion_kl(made, champion, LABELS), wanted)
    torch.testing.assert_close(champion_kl(made, made, LABELS), torch.tensor(0.0, dtype=torch.float64))


@untimed
@given(seeds, some.integers(1, VOCABULARY))
def test_the_likeliest_tokens_tell_most_of_the_distance_and_all_tokens_all_of_it(seed: int, most: int) -> None:
    made, champion = numbers(seed, 3, 4, VOCABULARY), numbers(seed + 1, 3, 4, VOCABULARY)
    whole = champion_kl(made, champion, LABELS).item()
    found = kept_kl(made, LABELS, likeliest(champion, LABELS, most)).item()
    assert -1e-12 <= found <= whole + 1e-12
    if most >= VOCABULARY - 1:  # the one that is left over is no bundle
        assert found == pytest.approx(whole, rel=1e-9)
    assert kept_kl(champion, LABELS, likeliest(champion, LABELS, most)).item() == pytest.approx(0, abs=1e-9)


@untimed
@given(seeds)
def test_distillation_asks_for_nothing_where_the_champion_is_matched_and_else_for_something(seed: int) -> None:
    made, champion = numbers(seed, 3, 5), numbers(seed + 1, 3, 5)
    assert distillation_loss(made, champion).item() > 0
    assert distillation_loss(champion + 4, champion).item() == pytest.approx(0, abs=1e-12)


def test_a_high_temperature_compares_the_logits_themselves() -> None:
    made, champion = numbers(1, 3, 5), numbers(2, 3, 5)
    apart = made - champion
    squared = (apart - apart.mean(-1, keepdim=True)).square().sum(-1) / (2 * 5)
    hot = distillation_loss(made, champion, temperature=1e4)
    assert hot.item() == pytest.approx(squared.mean().item(), rel=1e-3)


def test_the_champion_is_not_pulled_towards_the_candidate() -> None:
    champion, stored = logits(1).requires_grad_(), numbers(2, 3, 5).requires_grad_()
    loss = champion_kl(logits().requires_grad_(), champion, LABELS)
    loss = loss + distillation_loss(numbers(1, 3, 5).requires_grad_(), stored)
    loss.backward()  # type: ignore[no-untyped-call]
    assert champion.grad is None
    assert stored.grad is None


# --- a thumb down on a label -------------------------------------------------------------------------------------


@untimed
@given(seeds, some.integers(0, 4))
def test_a_wrong_label_loses_what_the_others_win(seed: int, wrong: int) -> None:
    made, label = numbers(seed, 1, 5), torch.tensor([wrong])
    by_hand = -(1 - made.softmax(-1)[0, wrong]).log()
    assert complementary_loss(made, label).item() == pytest.approx(by_hand.item(), rel=1e-6)
    assert (gradient(lambda at: complementary_loss(at, label), made)[0] > 0).tolist() == [
        at == wrong for at in range(5)
    ]


def test_of_two_labels_the_other_one_is_right() -> None:
    made, wrong = numbers(1, 6, 2), torch.tensor([0, 1, 0, 1, 1, 0])
    torch.testing.assert_close(complementary_loss(made, wrong), functional.cross_entropy(made, 1 - wrong))


def test_a_sure_champion_can_still_be_told_that_it_is_wrong() -> None:
    sure, wrong = torch.tensor([[1e4, 0.0, 0.0]]), torch.tensor([0])
    assert complementary_loss(sure, wrong).item() == pytest.approx(1e4 - math.log(2))
    assert gradient(lambda at: complementary_loss(at, wrong), sure).tolist() == [[1.0, -0.5, -0.5]]


# --- refusals ----------------------------------------------------------------------------------------------------

EMPTY = torch.empty(0)
UNANSWERED = LABELS.masked_fill(torch.tensor([[False], [True], [False]]), IGNORED)
ONLY_FIRST = torch.tensor([[3, IGNORED, IGNORED, IGNORED]])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: sequence_log_probs(logits(), UNANSWERED), r"rows \[1\] of 3"),
        (lambda: sft_loss(logits(), UNANSWERED), r"rows \[1\] of 3"),
        (lambda: champion_kl(logits(), logits(), UNANSWERED), r"rows \[1\] of 3"),
        (lambda: sft_loss(logits()[:1], ONLY_FIRST), "no token to learn"),
        (lambda: sft_loss(logits()[:0], LABELS[:0]), "no token to learn"),
        (lambda: sft_loss(logits(), LABELS, THREE[:, None]), "losses and weights differ in shape"),
        (lambda: champion_kl(logits(), logits()[:, :, :5], LABELS), "differ in shape"),
        (lambda: dpo_loss(EMPTY, EMPTY, beta=0.1), "no rows"),
        (lambda: dpo_loss(one(1), one(1), beta=0.1, flipped=0.5), "less than 0.5"),
        (lambda: dpo_loss(THREE, one(1), beta=0.1), "chosen and rejected differ in shape"),
        (lambda: kto_loss(THREE, LIKED, EMPTY, beta=0.1), "a batch needs two rows"),
        (lambda: kto_loss(THREE, LIKED.long(), one(1), beta=0.1), "give bool"),
        (lambda: kto_loss(THREE, LIKED[:1], one(1), beta=0.1), "differ in shape"),
        (lambda: kto_loss(EMPTY, EMPTY.bool(), one(1), beta=0.1), "no rows"),
        (lambda: distillation_loss(numbers(1, 3, 5), numbers(1, 3, 4)), "differ in shape"),
        (lambda: distillation_loss(numbers(1, 0, 5), numbers(1, 0, 5)), "no rows"),
        (lambda: distillation_loss(numbers(1, 3, 5), numbers(1, 3, 5), temperature=0), "more than 0"),
        (lambda: complementary_loss(numbers(1, 3, 1), torch.zeros(3, dtype=torch.long)), "two labels or more"),
        (lambda: complementary_loss(numbers(1, 0, 5), torch.zeros(0, dtype=torch.long)), "no rows"),
    ],
)
def test_what_would_be_no_number_is_refused_in_words(wrong: Callable[[], Tensor], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        wrong()
