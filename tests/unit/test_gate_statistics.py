"""The gate's statistics against other ways to compute the same, and against the laws that they must obey."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.stats import binom

from services.evaluator.sizes import power_of, smallest_visible_loss
from services.evaluator.statistics import (
    Paired,
    exact_p,
    holm,
    non_inferiority,
    p_better,
    p_smallest,
    sign_flip_p,
)

SCORES = [0.0, 0.25, 0.5, 1.0]
scores = some.sampled_from(SCORES)
users = some.sampled_from(["ann", "bob", "eve", None])


@some.composite
def graded(draw: some.DrawFn, among: list[float] = SCORES) -> Paired:
    rows = draw(some.lists(some.tuples(some.sampled_from(among), some.sampled_from(among), users), min_size=1))
    champion, candidate, whose = zip(*rows, strict=True)
    return Paired(champion, candidate, whose)


def by_hand(sums: list[float]) -> float:
    """The share of all sign patterns that add up to at least as much."""
    patterns = list(itertools.product((1, -1), repeat=len(sums)))
    reached = sum(sum(s * x for s, x in zip(signs, sums, strict=True)) >= sum(sums) - 1e-9 for signs in patterns)
    return reached / len(patterns)


@settings(deadline=None, max_examples=50)
@given(some.lists(some.sampled_from([-1.5, -1.0, -0.25, 0.25, 0.5, 1.0, 2.0]), min_size=1, max_size=9))
def test_a_sign_flip_over_few_users_is_exact(sums: list[float]) -> None:
    assert sign_flip_p([*sums, 0.0, 0.0]) == pytest.approx(by_hand(sums))


@settings(deadline=None, max_examples=20)
@given(some.integers(15, 60), some.integers(0, 2**31))
def test_a_sign_flip_of_equal_steps_is_the_sign_test(n: int, seed: int) -> None:
    chance = random.Random(seed)
    sums = [chance.choice([0.5, -0.5]) for _ in range(n)]
    expected = exact_p(sums.count(0.5), sums.count(-0.5))
    assert sign_flip_p(sums) == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 20_000) ** 0.5 + 1e-4)
    assert sign_flip_p(sums) == sign_flip_p(sums), "the same verdict after a crash"


@settings(deadline=None)
@given(graded())
def test_no_p_is_smaller_than_the_smallest_possible_one(rows: Paired) -> None:
    assert p_smallest(rows) - 1e-12 <= p_better(rows) <= 1


@settings(deadline=None)
@given(graded(among=[0.0, 1.0]))
def test_right_and_wrong_are_counted_and_scores_are_weighed(rows: Paired) -> None:
    assert rows.masses() == (rows.gains, rows.losses)
    assert not rows.graded
    assert p_better(rows) == exact_p(*rows.by_user())


@settings(deadline=None)
@given(graded())
def test_swapping_the_versions_swaps_all_that_is_said(rows: Paired) -> None:
    assert rows.swapped().masses() == pytest.approx(rows.masses()[::-1])
    assert rows.swapped().by_user() == rows.by_user()[::-1]
    assert rows.swapped().swapped() == rows


def test_equal_graded_candidates_are_called_better_no_more_often_than_the_level_says() -> None:
    chance = random.Random(4)
    trials, rejected = 400, 0
    for _ in range(trials):
        rows = [(chance.choice(SCORES), chance.choice(SCORES), f"u{chance.randrange(12)}") for _ in range(60)]
        champion, candidate, whose = zip(*rows, strict=True)
        rejected += p_better(Paired(champion, candidate, whose)) <= 0.05
    assert rejected <= binom.ppf(0.999, trials, 0.05)
    assert rejected >= binom.ppf(0.001, trials, 0.03), "nor is it a test that never rejects"


@given(some.lists(some.floats(0, 1), max_size=8), some.floats(0.01, 0.2))
def test_holm_rejects_what_stepping_down_rejects_and_at_least_what_bonferroni_does(
    p_values: list[float], level: float
) -> None:
    rejected = holm(p_values, level)
    alive = sorted(p_values)
    while alive and alive[0] <= level / len(alive):
        alive.pop(0)
    assert sum(rejected) == len(p_values) - len(alive)
    assert all(is_rejected for p, is_rejected in zip(p_values, rejected, strict=True) if p <= level / len(p_values))
    assert all(p <= q for p, yes in zip(p_values, rejected, strict=True) if yes
               for q, other in zip(p_values, rejected, strict=True) if not other)  # fmt: skip


@pytest.mark.parametrize(("n", "loss", "discordance"), [(40, 0.2, 0.1), (200, 0.05, 0.08), (300, 0.0, 0.1)])
def test_the_power_of_the_sign_test_is_what_simulation_shows(n: int, loss: float, discordance: float) -> None:
    chance = random.Random(n)
    spread, trials, seen = max(loss, discordance), 3000, 0
    for _ in range(trials):
        draws = [chance.random() for _ in range(n)]
        worse = sum(one < (spread + loss) / 2 for one in draws)
        better = sum((spread + loss) / 2 <= one < spread for one in draws)
        seen += exact_p(worse, better) <= 0.05
    expected = power_of(n, loss, discordance, 0.05)
    assert seen / trials == pytest.approx(expected, abs=4 * (expected * (1 - expected) / trials) ** 0.5 + 0.001)


@settings(deadline=None, max_examples=30)
@given(some.integers(5, 400), some.floats(0, 0.3), some.floats(0.001, 0.05))
def test_the_smallest_visible_loss_is_seen_and_a_smaller_one_is_not(n: int, discordance: float, level: float) -> None:
    loss = smallest_visible_loss(n, discordance, level, 0.8)
    if loss is None:
        assert 0.5**n > level
    else:
        assert power_of(n, loss, discordance, level) >= 0.8
        assert loss < 0.002 or power_of(n, loss - 0.002, discordance, level) < 0.81


@given(some.integers(0, 40), some.integers(0, 40), some.integers(0, 400))
def test_more_losses_never_help_a_candidate_past_the_anchor(gains: int, losses: int, same: int) -> None:
    n = gains + losses + same + 1
    now, worse = non_inferiority(gains, losses, n, 0.02), non_inferiority(gains, losses + 1, n, 0.02)
    assert worse.lower < now.lower
    assert now.delta >= 0.02
