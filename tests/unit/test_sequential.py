"""The sequential tests against closed forms, and their error rates against simulated traffic."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from math import comb, exp, log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betainc, betaln

from services.evaluator.sequential import ALPHA_STOP, Bet, Trial, Watch

RUNS = 200


@dataclass(frozen=True)
class Traffic:
    """Inputs on which a canary alone, or the champion alone, is right; on the rest both are, or neither."""

    gain: float
    discordance: float = 0.09
    accuracy: float = 0.9
    both_wrong: float = 0.03  # in different ways

    def rows(self, chance: random.Random, n: int) -> Iterator[tuple[bool, bool, bool]]:
        """Whether the champion is right, whether the canary is, and whether they differ."""
        better, worse = (self.discordance + self.gain) / 2, (self.discordance - self.gain) / 2
        alike = (self.accuracy - worse) / (1 - self.discordance - self.both_wrong)
        for _ in range(n):
            draw = chance.random()
            if draw < better:
                yield False, True, True
            elif draw < self.discordance:
                yield True, False, True
            elif draw < self.discordance + self.both_wrong:
                yield False, False, True
            else:
                right = chance.random() < alike
                yield right, right, False


def tried(chance: random.Random, traffic: Traffic, share: float = 0.5, repeats: int = 1, answers: int = 1500) -> Trial:
    """A trial on that traffic; each user asks `repeats` times, and what decides of one asks it again and again."""
    trial = Trial(share, answers=answers)
    for number, (old, new, differ) in enumerate(traffic.rows(chance, answers)):
        canary = chance.random() < share
        for _ in range(repeats):
            trial.hear(canary, new if canary else old, f"user-{number}", differ)
    return trial


@settings(max_examples=30)
@given(st.integers(0, 25), st.integers(0, 25))
def test_bets_on_all_stakes_alike_are_the_mixture_with_a_closed_form(gains: int, losses: int) -> None:
    # ∫ Π(1 ± λ) dλ over [0, 1] with λ = 2θ − 1: 2^n · 2 · B(b + 1, c + 1) · P(Beta(b + 1, c + 1) > ½).
    points = 1000
    bet = Bet(1.0, [(point + 0.5) / points for point in range(points)])
    for _ in range(gains):
        bet.take(1.0)
    for _ in range(losses):
        bet.take(-1.0)
    size = exp((gains + losses + 1) * log(2) + float(betaln(gains + 1, losses + 1)))
    assert bet.e_value == pytest.approx(size * (1 - float(betainc(gains + 1, losses + 1, 0.5))), rel=1e-3)


@pytest.mark.parametrize("rounds", [1, 5, 12])
def test_a_fair_game_keeps_the_capital_at_one_on_average(rounds: int) -> None:
    mean = 0.0
    for wins in range(rounds + 1):
        bet = Bet(1.0)
        for turn in range(rounds):
            bet.take(1.0 if turn < wins else -1.0)
        mean += comb(rounds, wins) / 2**rounds * bet.e_value
    assert mean == pytest.approx(1.0)


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), max_size=60), st.floats(1, 50))
def test_no_run_of_losses_ruins_more_than_the_capital(moves: list[float], reach: float) -> None:
    bet = Bet(reach)
    for move in moves:
        bet.take(move * reach)
    assert bet.e_value >= 0


def test_an_endless_run_of_wins_is_a_number() -> None:
    bet = Bet(1.0)
    for _ in range(5000):
        bet.take(1.0)
    assert bet.e_value > 1e300


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_an_equally_good_canary_is_called_worse_or_better_within_the_levels(share: float) -> None:
    chance = random.Random(1)
    trials = [tried(chance, Traffic(gain=0.0), share) for _ in range(RUNS)]
    worse = sum(trial.e_worse >= 1 / ALPHA_STOP for trial in trials)
    better = sum(trial.e_better >= 20 for trial in trials)
    assert worse <= RUNS * (ALPHA_STOP + 0.04)  # two standard errors above the levels
    assert better <= RUNS * (0.05 + 0.03)


def test_a_canary_three_points_worse_is_stopped_by_proof_before_1500_answers() -> None:
    chance = random.Random(2)
    trials = [tried(chance, Traffic(gain=-0.03)) for _ in range(RUNS)]
    assert sum(trial.e_worse >= 1 / ALPHA_STOP for trial in trials) >= RUNS * 0.9
    assert all(trial.decision == "stop" for trial in trials)


def test_a_canary_three_points_better_serves_in_the_end() -> None:
    chance = random.Random(3)
    trials = [tried(chance, Traffic(gain=0.03)) for _ in range(RUNS)]
    assert sum(trial.decision == "promote" for trial in trials) >= RUNS * 0.98


def test_users_who_repeat_themselves_prove_nothing_more() -> None:
    once = tried(random.Random(4), Traffic(gain=0.0), answers=300)
    often = tried(random.Random(4), Traffic(gain=0.0), repeats=10, answers=300)
    assert often.heard == 300
    assert (often.canary_apart.n + often.champion_apart.n) < (once.canary_apart.n + once.champion_apart.n) / 5


@pytest.mark.parametrize(("of_right", "of_wrong"), [(0.1, 0.9), (0.9, 0.1)])
def test_who_answers_more_when_it_was_wrong_does_not_make_a_canary_look_worse(of_right: float, of_wrong: float) -> None:
    chance = random.Random(5)
    called = 0
    for _ in range(RUNS):
        trial = Trial(0.5, answers=1000)
        for old, new, differ in Traffic(gain=0.0, accuracy=0.8, discordance=0.2).rows(chance, 1000):
            canary = chance.random() < 0.5
            right = new if canary else old
            if chance.random() < (of_right if right else of_wrong):
                trial.hear(canary, right, differ=differ)
        called += trial.e_worse >= 1 / ALPHA_STOP
    assert called <= RUNS * (ALPHA_STOP + 0.04)


def test_a_drift_that_takes_both_down_does_not_stop_the_canary() -> None:
    chance = random.Random(6)
    stopped = 0
    for _ in range(RUNS):
        trial = Trial(0.5, answers=1000)
        for step in range(1000):
            right = chance.random() < 0.95 - 0.4 * step / 1000
            trial.hear(chance.random() < 0.5, right)
        stopped += trial.e_worse >= 1 / ALPHA_STOP
    assert stopped <= RUNS * (ALPHA_STOP + 0.04)


def test_a_trial_ends_with_its_decision() -> None:
    trial = Trial(0.5, answers=10)
    for _ in range(12):
        trial.hear(canary=True, right=True)
        trial.hear(canary=False, right=False)
    assert (trial.heard, trial.decision) == (10, "promote")
    assert trial.canary.accuracy == 1.0
    assert trial.champion.accuracy == 0.0


def watched(chance: random.Random, gain: float) -> Watch:
    watch = Watch()
    for number, (old, new, _) in enumerate(Traffic(gain).rows(chance, watch.answers)):
        watch.hear(new, old, f"user-{number}")
    return watch


def test_a_new_champion_that_is_as_good_is_rolled_back_in_one_reign_of_twenty_at_most() -> None:
    chance = random.Random(7)
    assert sum(watched(chance, 0.0).worse for _ in range(RUNS)) <= RUNS * (0.05 + 0.03)


def test_a_new_champion_three_points_worse_is_found_out() -> None:
    chance = random.Random(8)
    assert sum(watched(chance, -0.03).worse for _ in range(RUNS)) >= RUNS * 0.9


def test_a_watch_hears_each_user_once_and_ends() -> None:
    watch = Watch(answers=50)
    for _ in range(100):
        watch.hear(new=0.0, old=1.0, user="loud")
    assert (watch.heard, watch.losses, watch.worse, watch.over) == (50, 1, False, True)


Asked = tuple[int, float, float, bool]  # user, how right the new one is, how right the old one is, answered


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0]), st.booleans()),
        max_size=60,
    )
)
def test_silence_never_brings_a_champion_closer_to_its_end_than_any_answer_would(asked: list[Asked]) -> None:
    told, heard = Watch(alpha=1e-9), Watch(alpha=1e-9)
    for user, new, old, answered in asked:
        told.hear(new, old, f"user-{user}")
        if answered:
            heard.hear(new, old, f"user-{user}")
        else:
            heard.miss(f"user-{user}")
        assert heard.e_worse <= told.e_worse * (1 + 1e-12)


def test_a_champion_whose_errors_are_told_more_often_is_rolled_back_in_one_reign_of_twenty_at_most() -> None:
    chance = random.Random(9)
    counted = ignored = 0
    for _ in range(RUNS):
        watches = Watch(), Watch()
        for number, (old, new, differ) in enumerate(Traffic(gain=0.0).rows(chance, 2000)):
            if chance.random() < (0.6 if new else 0.9):
                for watch in watches:
                    watch.hear(new, old, f"user-{number}")
            elif differ:
                watches[0].miss(f"user-{number}")
        counted, ignored = counted + watches[0].worse, ignored + watches[1].worse
    assert counted <= RUNS * (0.05 + 0.03)
    assert ignored > RUNS * 0.3, "else silence would need no counting"
