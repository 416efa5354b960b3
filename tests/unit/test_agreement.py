"""A liar contradicts what others say of similar inputs; honest users do so too, but each about as often as the rest."""

from __future__ import annotations

from math import comb

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.lm.agreement import OTHERS, _at_least, doubted

LABELS, WIDTH = 10, 32
SPREAD = 0.3


class Crowd:
    """Lessons on ten labels, each a cloud of inputs of its own."""

    def __init__(self, seed: int = 0) -> None:
        """Nobody has said anything yet."""
        self.chance = torch.Generator().manual_seed(seed)
        self.centres = torch.randn(LABELS, WIDTH, generator=self.chance)
        self.meant: list[int] = []
        self.targets: list[int] = []
        self.voices: list[int | None] = []

    def says(self, voice: int | None, meant: int, named: int | None = None) -> int:
        """Somebody names a label for an input that means another, perhaps; the row."""
        self.meant.append(meant)
        self.targets.append(meant if named is None else named)
        self.voices.append(voice)
        return len(self.voices) - 1

    def honest(self, users: int = 40, each: int = 10, wrong: float = 0.0) -> None:
        """So many users, numbered from 100 on, who err by a share of their lessons."""
        errs = (torch.rand(users, each, generator=self.chance) < wrong).tolist()
        for user in range(users):
            for turn in range(each):
                self.says(100 + user, turn % LABELS, (turn + 3) % LABELS if errs[user][turn] else None)

    def doubted(self, new: list[int] | None = None) -> list[int]:
        """The rows that are not believed."""
        rows = list(range(len(self.voices))) if new is None else new
        spread = SPREAD * torch.randn(len(self.meant), WIDTH, generator=self.chance)
        return doubted(self.centres[self.meant] + spread, torch.tensor(self.targets), self.voices, rows)


def test_a_liars_lessons_are_doubted_and_nobody_elses() -> None:
    crowd = Crowd()
    crowd.honest(wrong=0.2)
    lies = [crowd.says(1, meant=2, named=7) for _ in range(12)]
    assert crowd.doubted() == lies


def test_a_liar_does_not_vouch_for_himself() -> None:
    crowd = Crowd()
    crowd.honest(users=20, each=10)
    before = [crowd.says(1, meant=2, named=5) for _ in range(40)]  # learned already, more than all others said there
    lies = [crowd.says(1, meant=2, named=5) for _ in range(12)]
    new = [row for row in range(len(crowd.voices)) if row not in before]
    assert crowd.doubted(new) == lies


def test_what_a_liar_says_rightly_is_believed() -> None:
    crowd = Crowd()
    crowd.honest()
    truths = [crowd.says(1, meant=4) for _ in range(5)]
    lies = [crowd.says(1, meant=2, named=5) for _ in range(12)]
    assert crowd.doubted() == lies
    assert not set(truths) & set(lies)


@pytest.mark.parametrize("wrong", [0.0, 0.1, 0.3])
def test_honest_users_are_hardly_ever_doubted(wrong: float) -> None:
    accused = 0
    for seed in range(40):
        crowd = Crowd(seed)
        crowd.honest(wrong=wrong)
        accused += bool(crowd.doubted())
    assert accused <= 3  # a hundredth each is 0.4 of them


def test_a_single_expert_is_compared_with_nobody() -> None:
    crowd = Crowd()
    for _ in range(60):
        crowd.says(None, meant=2)
    rows = [crowd.says(1, meant=2, named=5) for _ in range(20)]
    crowd.honest(users=1, each=OTHERS - 1)
    assert crowd.doubted([*rows, *range(rows[-1] + 1, len(crowd.voices))]) == []


def test_who_is_first_to_use_a_label_contradicts_nobody() -> None:
    crowd = Crowd()
    crowd.honest(users=40, each=9)  # nobody names the tenth label
    rows = [crowd.says(1, meant=9) for _ in range(12)]
    assert not set(rows) & set(crowd.doubted())


def test_nothing_is_doubted_where_nobody_has_a_name() -> None:
    assert doubted(torch.empty(0), torch.empty(0), [], []) == []
    assert doubted(torch.randn(3, 4), torch.tensor([0, 1, 2]), [None] * 3, [0, 1, 2]) == []


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.floats(0.01, 0.99))
def test_the_tail_is_the_binomials(successes: int, n: int, rate: float) -> None:
    exact = sum(comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(successes, n + 1))
    assert _at_least(successes, n, rate) == pytest.approx(exact, abs=1e-12)
