"""The gate against worlds in which the truth is known, on a small scale; and a naive gate that the same bar catches."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from bench.gate import Size, backdoor, canary, chances, figures_of, shown, watched
from bench.gate.equal import ACCURACY, MOST, REPORTED, WORLDS, run
from bench.gate.gates import HIGHER, OURS, PAIRED, HigherWins, Product
from bench.gate.rates import Count
from bench.gate.traffic import Habits, Traffic, evidence, is_evidence
from bench.gate.world import Version, world

SEQUENCES, CANDIDATES = 30, 24
SEED = 7


def promotions(name: str) -> dict[str, Count]:
    """In how many sequences of equal candidates each gate promoted any."""
    found: Counter[str] = Counter()
    for number in range(SEQUENCES):
        first = run(WORLDS[name], CANDIDATES, np.random.default_rng((SEED, number)))
        found.update(gate for gate, place in first.items() if place is not None)
    return {gate: Count(found[gate], SEQUENCES) for gate in (OURS, PAIRED, HIGHER)}


@pytest.mark.parametrize("name", [name for name, kind in WORLDS.items() if kind.promised])
def test_equal_candidates_are_hardly_ever_promoted_and_naive_gates_promote_them(name: str) -> None:
    found = promotions(name)
    assert not found[OURS].exceeds(MOST / 100)
    assert found[HIGHER].exceeds(MOST / 100), "the bar could not tell a gate from none"
    fooled = name != "equal"  # where rows are independent, and all that were asked answered, the paired test is right
    assert found[PAIRED].exceeds(MOST / 100) == fooled


def test_only_answers_that_were_asked_for_judge() -> None:
    assert is_evidence(solicited=True, wrong=True)
    assert is_evidence(solicited=True, wrong=False)
    assert not is_evidence(solicited=False, wrong=True)
    assert not is_evidence(solicited=False, wrong=False)


def test_who_volunteers_is_selected_by_the_champions_mistakes_and_who_is_asked_is_not() -> None:
    chance = np.random.default_rng(SEED)
    champion = Version(np.array([ACCURACY]))
    log = Traffic(world(ACCURACY, ACCURACY, 0.1), REPORTED, chance).serve(champion, 40_000)
    asked = evidence(log)
    assert log.champion[asked].mean() == pytest.approx(ACCURACY, abs=0.02)
    assert log.champion[~asked].mean() == pytest.approx(0.25, abs=0.02)  # .05 · .8 of .05 · .8 + .6 · .2
    assert (asked == log.solicited).all()


def test_versions_are_as_good_and_as_alike_as_they_are_said_to_be() -> None:
    chance = np.random.default_rng(SEED)
    drawn = world(0.8, 0.83, 0.09)
    inputs = drawn.inputs(100_000, 0, chance)
    old, new = (drawn.right(Version(np.array([accuracy])), inputs, chance) for accuracy in (0.8, 0.83))
    assert [old.mean(), new.mean()] == pytest.approx([0.8, 0.83], abs=0.005)
    assert (old != new).mean() == pytest.approx(0.09, abs=0.005)
    with pytest.raises(ValueError, match="cannot disagree"):
        world(0.8, 0.9, 0.05)


def test_the_answers_of_one_user_go_together() -> None:
    chance = np.random.default_rng(SEED)
    drawn = world(0.8, 0.8, 0.12, bound=0.5, rows_per_user=10)
    inputs = drawn.inputs(40_000, 0, chance)
    one, other = (drawn.right(Version(np.array([0.8])), inputs, chance) for _ in range(2))
    leads = (one.astype(int) - other.astype(int)).reshape(-1, 10)
    assert leads.sum(axis=1).var() > 1.5 * 10 * leads.var(), "else rows would be as good as users"


def test_only_the_newest_rows_are_kept() -> None:
    champion = Version(np.array([ACCURACY]))
    log = Traffic(world(ACCURACY, ACCURACY, 0.1), Habits(), np.random.default_rng(SEED)).serve(champion, 100)
    newest = log.newest(log.inputs.user % 2 == 0, 10)
    assert np.flatnonzero(newest).tolist() == list(range(80, 100, 2))


def test_a_gain_is_found_and_a_loss_is_not_promoted() -> None:
    [better] = chances.better(100, SEED, lambda: None)
    low, high = better.spread or (0.0, 0.0)
    assert low < better.value < high
    assert Count(round(better.value), 100).interval[1] > 80
    [worse] = chances.worse(60, SEED, lambda: None)
    assert worse.holds
    assert worse.value == 0
    assert worse.peers[HIGHER] == pytest.approx(60, rel=0.1), "on what is reported a worse one wins"


def test_a_backdoor_is_not_promoted_though_it_is_better() -> None:
    [found] = backdoor.figures(20, SEED, lambda: None)
    assert found.value == 0
    assert (found.peers["without the probes"] or 0) >= 10, "else nothing would have been refused"


def test_a_worse_canary_is_stopped_and_an_equal_one_is_hardly_ever_called_worse() -> None:
    [stopped] = canary.figures(40, SEED, lambda: None)
    assert stopped.holds
    assert (stopped.peers["equally good: called worse"] or 0) <= 25  # a tenth, and three standard errors


def test_an_equal_champion_stays_whoever_is_silent_and_a_worse_one_is_rolled_back() -> None:
    def rolled_back(kind: watched.Kind) -> Count:
        return Count(sum(watched.watch(kind, np.random.default_rng((SEED, number))).worse for number in range(40)), 40)

    assert not rolled_back(watched.EQUAL[""]).exceeds(MOST / 100)
    assert rolled_back(watched.EQUAL["90 % and 60 %, gate.silence = fair"]).exceeds(MOST / 100)
    assert rolled_back(watched.WORSE[""]).percent >= 80


def test_the_boards_accuracy_is_that_of_fresh_data() -> None:
    said = [shown.read(shown.told(Product(), np.random.default_rng((SEED, number))))[0] for number in range(2)]
    assert abs(np.mean(said)) < 0.04
    story = shown.told(HigherWins(), np.random.default_rng(SEED))
    assert story.promotions > shown.VERDICTS / 4


def test_a_world_is_one_line_of_the_table_and_the_same_each_time() -> None:
    size = replace(Size(), sequences=2, candidates=2)
    first, again = (figures_of("users", size, SEED, lambda: None) for _ in range(2))
    assert first == again
    assert first[0].name == "equal, users with 10 rows each: any promotion (0 of 2)"
    assert set(first[0].peers) == {PAIRED, HIGHER}
