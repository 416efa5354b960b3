"""Drift: an alarm soon after errors rise, none while they stay or fall."""

from __future__ import annotations

import random

import pytest

from services.aggregator.drift import Drift, DriftWatch


def alarms(rates: list[tuple[float, int]], seed: int) -> list[tuple[int, Drift]]:
    """Feed errors at each rate for so many answers; the alarms with their positions."""
    chance, watch, found, position = random.Random(seed), DriftWatch(), [], 0
    for rate, answers in rates:
        for _ in range(answers):
            if drift := watch.update(chance.random() < rate):
                found.append((position, drift))
            position += 1
    return found


@pytest.mark.parametrize("seed", range(5))
def test_a_rise_is_found_within_a_few_hundred_answers(seed: int) -> None:
    position, drift = alarms([(0.1, 1000), (0.5, 400)], seed)[0]
    assert 1000 <= position < 1300
    assert drift.before < drift.after


@pytest.mark.parametrize("seed", range(5))
def test_a_fall_is_no_alarm(seed: int) -> None:
    assert alarms([(0.5, 1000), (0.1, 1000)], seed) == []


def test_a_steady_rate_raises_hardly_any() -> None:
    assert sum(bool(alarms([(0.2, 2000)], seed)) for seed in range(20)) <= 1
