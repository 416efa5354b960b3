"""The losses of pairs and of thumbs: where they lead, their limits, and what a doubt about the pairs changes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch.nn import functional

from shared.lm.losses import dpo_loss, kto_loss
from tests.unit.loss_numbers import gradient, numbers, one, untimed

LIKED = torch.tensor([True, False, True])
THREE = torch.tensor([0.5, 2.0, 0.0], dtype=torch.float64)
ratios = some.floats(-20, 20)
rates = some.floats(0, 0.45)


# --- pairs -------------------------------------------------------------------------------------------------------


@untimed
@given(ratios, ratios)
def test_without_flipped_pairs_the_robust_loss_is_the_plain_one(chosen: float, rejected: float) -> None:
    plain = functional.softplus(-0.3 * (one(chosen) - one(rejected))).item()
    assert dpo_loss(one(chosen), one(rejected), beta=0.3).item() == pytest.approx(plain)


@untimed
@given(ratios, ratios, rates)
def test_flipped_pairs_cancel_out_on_average(chosen: float, rejected: float, flipped: float) -> None:
    right = dpo_loss(one(chosen), one(rejected), beta=0.3, flipped=flipped).item()
    wrong = dpo_loss(one(rejected), one(chosen), beta=0.3, flipped=flipped).item()
    clean = dpo_loss(one(chosen), one(rejected), beta=0.3).item()
    assert (1 - flipped) * right + flipped * wrong == pytest.approx(clean, abs=1e-9)


@untimed
@given(ratios, ratios, rates)
def test_a_pair_lifts_the_chosen_as_much_as_it_sinks_the_rejected(chosen: float, rejected: float, flip: float) -> None:
    up = gradient(lambda at: dpo_loss(at, one(rejected), beta=0.3, flipped=flip), one(chosen))
    down = gradient(lambda at: dpo_loss(one(chosen), at, beta=0.3, flipped=flip), one(rejected))
    assert up.item() == pytest.approx(-down.item())
    assert up.item() < 0 < down.item()


def test_a_pair_that_is_told_apart_says_nothing_more_but_goes_on_pulling_where_pairs_may_be_flipped() -> None:
    def pull(flipped: float) -> float:
        return gradient(lambda at: dpo_loss(at, one(0), beta=0.3, flipped=flipped), one(100)).item()

    assert pull(0) == pytest.approx(0, abs=1e-9)
    assert pull(0.2) == pytest.approx(-0.3 * 0.2 / (1 - 2 * 0.2))


# --- thumbs ------------------------------------------------------------------------------------------------------


def kto(ratio: float, liked: bool, moved: float, weight: float = 1.0) -> float:
    rows, estimate = (one(ratio), torch.tensor([liked])), one(moved)
    return kto_loss(*rows, estimate, beta=0.3, desirable_weight=weight, undesirable_weight=weight).item()


@untimed
@given(ratios, ratios)
def test_a_thumb_up_and_a_thumb_down_are_mirrored(ratio: float, moved: float) -> None:
    assert kto(ratio, True, moved) + kto(ratio, False, moved) == pytest.approx(1)
    assert kto(ratio, True, moved) <= kto(ratio - 1, True, moved), "a liked answer is to become likelier"
    assert kto(ratio, False, moved) <= kto(ratio + 1, False, moved), "a disliked one less so"


def test_a_thumb_is_judged_against_how_far_the_model_has_moved() -> None:
    assert kto(2, True, moved=2) == kto(2, False, moved=2) == 0.5
    assert kto(2, True, moved=4) > 0.5 > kto(2, False, moved=4)
    assert kto(2, True, moved=-9) == kto(2, True, moved=0), "a divergence is never below zero"


@untimed
@given(ratios, ratios, some.floats(0.1, 4), some.booleans())
def test_a_thumbs_loss_is_bounded_by_its_sides_weight(ratio: float, moved: float, weight: float, liked: bool) -> None:
    assert 0 <= kto(ratio, liked, moved, weight) <= weight
    assert kto(ratio, liked, moved, weight) == pytest.approx(weight * kto(ratio, liked, moved))


def test_each_side_has_its_own_weight() -> None:
    def loss(up: float, down: float) -> float:
        weighted = kto_loss(
            THREE,
            LIKED,
            one(0.1),
            beta=0.3,
            desirable_weight=up,
            undesirable_weight=down,
            weights=torch.ones(3).double(),
        )
        return weighted.item()

    assert loss(2, 3) == pytest.approx(2 * loss(1, 0) + 3 * loss(0, 1))
    assert loss(1, 0) == pytest.approx((kto(0.5, True, 0.1) + kto(0.0, True, 0.1)) / 3)


def test_the_estimate_of_the_divergence_is_not_learned_from() -> None:
    mismatched = numbers(3, 3).abs().requires_grad_()
    kto_loss(numbers(1, 3).requires_grad_(), LIKED, mismatched, beta=0.3).backward()  # type: ignore[no-untyped-call]
    assert mismatched.grad is None
