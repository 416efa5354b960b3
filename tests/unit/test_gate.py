"""The gate's statistics against worked examples, and its error rates against simulated worlds."""

from __future__ import annotations

import random

import pytest
from scipy.stats import binomtest

from services.evaluator.gate import alpha_left, first, judge, parentage
from services.evaluator.sizes import rows_to_decide
from services.evaluator.statistics import Paired, exact_p, non_inferiority
from services.evaluator.wanting import wanting
from shared.policy import Gate

CHAMPION = "v-champion"
LINEAGE = parentage(CHAMPION, CHAMPION)
RULES = Gate()


def paired(gains: int, losses: int, both: int = 0, neither: int = 0, users: list[str | None] | None = None) -> Paired:
    champion = [False] * gains + [True] * losses + [True] * both + [False] * neither
    candidate = [True] * gains + [False] * losses + [True] * both + [False] * neither
    return Paired(tuple(champion), tuple(candidate), tuple(users or [None] * len(champion)))


def world(chance: random.Random, n: int, accuracy: float, gain: float, discordance: float) -> Paired:
    """Paired answers with a given gain and discordance."""
    better, worse = (discordance + gain) / 2, (discordance - gain) / 2
    rows = []
    for _ in range(n):
        draw = chance.random()
        if draw < better:
            rows.append((False, True))
        elif draw < better + worse:
            rows.append((True, False))
        else:
            rows.append((chance.random() < accuracy,) * 2)
    champion, candidate = zip(*rows, strict=True)
    return Paired(champion, candidate, (None,) * n)


@pytest.mark.parametrize(("better", "worse"), [(9, 0), (15, 3), (30, 12), (5, 5), (0, 0), (2, 8)])
def test_the_exact_p_is_the_binomial_test(better: int, worse: int) -> None:
    expected = binomtest(better, better + worse, 0.5, "greater").pvalue if better + worse else 1.0
    assert exact_p(better, worse) == pytest.approx(expected)


def test_rows_of_one_user_are_one_voice() -> None:
    evidence = paired(gains=12, losses=0, users=["loud"] * 12)
    assert evidence.by_user() == (1, 0)
    assert judge(evidence, paired(0, 0, 300), LINEAGE, 0, RULES).outcome == "inconclusive"


def test_a_clear_gain_on_solicited_answers_is_promoted_with_its_figures() -> None:
    verdict = judge(paired(gains=30, losses=5, both=300), paired(1, 1, 268), LINEAGE, 0, RULES)
    assert verdict.outcome == "promote"
    assert verdict.alpha == pytest.approx(0.0025)
    assert "30 gained, 5 lost" in verdict.reason
    assert all(check.passed for check in verdict.checks)


def test_a_loss_on_the_anchor_rejects_whatever_the_gain() -> None:
    verdict = judge(paired(gains=60, losses=0, both=300), paired(gains=0, losses=30, both=240), LINEAGE, 0, RULES)
    assert verdict.outcome == "reject"
    assert "anchor" in verdict.reason


def test_a_candidate_that_is_worse_is_rejected_and_costs_no_alpha() -> None:
    verdict = judge(paired(gains=3, losses=25, both=300), paired(0, 0, 270), LINEAGE, 0, RULES)
    assert verdict.outcome == "reject"
    assert verdict.alpha is None


def test_too_little_evidence_costs_no_alpha_and_says_how_much_is_missing() -> None:
    verdict = judge(paired(gains=6, losses=1, both=50), paired(0, 0, 270), LINEAGE, 0, RULES)
    assert verdict.outcome == "inconclusive"
    assert verdict.alpha is None
    assert verdict.labels_to_decide is not None
    assert verdict.labels_to_decide > 0


def test_a_spent_budget_waits_for_a_person() -> None:
    verdict = judge(paired(gains=30, losses=0, both=300), paired(0, 0, 270), LINEAGE, RULES.tries, RULES)
    assert verdict.outcome == "inconclusive"
    assert "spent" in verdict.reason


def test_a_fast_gate_has_no_budget_and_tests_at_five_percent() -> None:
    fast, evidence = Gate(mode="fast"), paired(gains=12, losses=3, both=300)
    verdict = judge(evidence, paired(0, 0, 270), LINEAGE, 10_000, fast)
    assert (verdict.outcome, verdict.alpha) == ("promote", 0.05)
    assert judge(evidence, paired(0, 0, 270), LINEAGE, 0, RULES).outcome == "inconclusive"
    assert alpha_left(3, fast) is None
    assert [alpha_left(tested, RULES) for tested in (0, 5, 20, 21)] == pytest.approx([0.05, 0.0375, 0, 0])


def test_a_candidate_of_an_old_champion_waits() -> None:
    verdict = judge(paired(30, 0, 300), paired(0, 0, 270), parentage("v-old", CHAMPION), 0, RULES)
    assert verdict.outcome == "inconclusive"
    assert verdict.checks[0].name == "lineage"


def test_a_refresh_is_said_to_be_one_and_must_replace_the_champion_that_serves() -> None:
    fresh = parentage(CHAMPION, CHAMPION, "aggregator", "refresh")
    assert fresh.passed
    assert "from the base" in fresh.reason
    assert not parentage("v-old", CHAMPION, "aggregator", "refresh").passed


def test_the_first_version_serves_by_a_persons_decision() -> None:
    assert first("alice").outcome == "promote"
    assert "alice" in first("alice").reason


def test_non_inferiority_widens_for_a_small_anchor_and_says_so() -> None:
    small, large = non_inferiority(5, 5, 100, 0.02), non_inferiority(50, 50, 10_000, 0.02)
    assert small.delta > 0.02
    assert large.delta == 0.02
    verdict = judge(paired(0, 0, 10), paired(5, 5, 90), LINEAGE, 0, RULES)
    assert "widened" in verdict.checks[1].reason


def test_an_equal_candidate_passes_the_anchor_nine_times_in_ten() -> None:
    chance = random.Random(1)
    worlds = (world(chance, 270, 0.95, 0.0, 0.04) for _ in range(1000))
    passed = sum(non_inferiority(anchor.gains, anchor.losses, anchor.n, 0.02).holds for anchor in worlds)
    assert 850 <= passed <= 970


def test_the_missing_rows_follow_connors_formula() -> None:
    # A gain of 3 points at discordance 9 % needs 1,328 rows in all (simulated for α = .0025, 80 % power).
    assert 1250 <= rows_to_decide(0.03, 0.09, alpha=0.0025, power=0.8) <= 1400
    wanted = wanting(paired(60, 30, 910), alpha=0.0025, power=0.8)
    assert wanted.rows == rows_to_decide(0.03, 0.09, alpha=0.0025, power=0.8) - 1000
    assert "gain of 3.0 points as seen so far at 80% power" in wanted.said


def test_missing_labels_are_told_when_no_gain_is_seen_yet_and_when_more_would_not_help() -> None:
    none = wanting(paired(0, 0), alpha=0.0025, power=0.8)
    early = wanting(paired(2, 3, 45), alpha=0.0025, power=0.8)
    assert none.rows == rows_to_decide(0.02, 0.08, alpha=0.0025, power=0.8)
    assert early.rows is not None
    assert "a gain of 2.0 points at 80% power" in early.said
    late = wanting(paired(60, 70, 2870), alpha=0.0025, power=0.8)
    assert (late.rows, "hardly help" in late.said) == (None, True)


def test_graded_scores_are_tested_by_flipping_signs() -> None:
    better = Paired((0.4,) * 30, (0.7,) * 30, (None,) * 30)
    assert judge(better, paired(0, 0, 270), LINEAGE, 0, RULES).outcome == "promote"
    assert judge(better.swapped(), paired(0, 0, 270), LINEAGE, 0, RULES).outcome == "reject"
    large_losses = Paired((0.9,) * 6 + (0.5,) * 20, (0.0,) * 6 + (0.6,) * 20, (None,) * 26)
    verdict = judge(large_losses, paired(0, 0, 270), LINEAGE, 0, RULES)
    assert verdict.outcome != "promote", "twenty small gains do not outweigh six large losses, as they would by count"


def test_equal_candidates_are_hardly_ever_promoted_in_a_whole_reign() -> None:
    chance = random.Random(2)
    anchor = paired(0, 0, 270)
    reigns = 200
    promoted = sum(
        any(
            judge(world(chance, 400, 0.8, 0.0, 0.08), anchor, LINEAGE, tested, RULES).outcome == "promote"
            for tested in range(RULES.tries)
        )
        for _ in range(reigns)
    )
    assert promoted <= reigns * 0.05 + 3 * (reigns * 0.05 * 0.95) ** 0.5


def test_a_gain_of_three_points_is_found_with_1400_rows() -> None:
    chance = random.Random(3)
    anchor = paired(0, 0, 270)
    found = sum(
        judge(world(chance, 1400, 0.8, 0.03, 0.09), anchor, LINEAGE, 0, RULES).outcome == "promote" for _ in range(200)
    )
    assert found >= 150
