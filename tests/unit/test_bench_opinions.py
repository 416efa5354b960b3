"""The bench of text models: what users are made to say, what the desk makes of it, and when a gain is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from bench.learning.generation import QUICK, WHOLE, WRITER, Written, figures
from bench.learning.line import Line
from bench.learning.opinions import ALONE, PAIRS, THUMBS, Gained, said_of
from bench.learning.opinions import figures as of_opinions
from bench.learning.outcomes import JOINT, NAIVE, OURS
from shared.datasets import Row
from shared.lm.task import Task

ROWS = [Row(text=f"text {number}", label=f'{{"n": {number}}}') for number in range(6)]


def test_users_like_what_is_right_however_it_is_spelt_and_prefer_it_to_what_is_wrong() -> None:
    said = said_of(ROWS[:3], ['{"n":0}', "nonsense", '{"n": 9}'], most=1)
    assert [one.feedback for one in said] == [
        ("thumbs", "up", False),
        ("thumbs", "down", True),
        ("thumbs", "down", True),
        ("preference", {"chosen": '{"n": 1}', "rejected": "nonsense"}, None),
    ]


def test_what_they_say_is_what_the_trainers_own_desk_chooses(tmp_path: Path) -> None:
    line = Line(tmp_path, cast(Task, None), WHOLE.config, kind=WRITER)
    line.give(ROWS[:2])
    line.promote(line.choose()[0])
    line.hear(said_of(ROWS[2:], ["nonsense", ROWS[3].label, "nonsense", "nonsense"], most=2))
    chosen, texts = line.choose()
    assert chosen.new == ()
    assert {texts[one.id] for one in chosen.replay} == {"text 0", "text 1"}
    assert {texts[one.example_id]: one.liked for one in chosen.thumbs} == {
        "text 2": False,
        "text 3": True,
        "text 4": False,
        "text 5": False,
    }
    assert {(texts[one.example_id], one.chosen, one.rejected) for one in chosen.pairs} == {
        ("text 2", ROWS[2].label, "nonsense"),
        ("text 4", ROWS[4].label, "nonsense"),
    }


@pytest.mark.parametrize(
    ("won", "lost", "shown"), [(30, 2, True), (2, 30, True), (10, 10, False), (1, 0, False), (0, 0, False)]
)
def test_a_gain_is_shown_where_its_interval_holds_no_zero(won: int, lost: int, shown: bool) -> None:
    same = 100 - won - lost
    before = [False] * won + [True] * lost + [True] * same
    gained = Gained(5, before, [True] * won + [False] * lost + [True] * same)
    low, high = gained.interval()
    assert low <= won - lost <= high
    assert (low > 0 or high < 0) is shown
    assert gained.interval() == (low, high), "the same each time"


def test_opinions_are_told_beside_what_replay_alone_does() -> None:
    before = [False, False, True, True]
    found = {
        THUMBS: Gained(8, before, [True, True, True, True]),
        PAIRS: Gained(3, before, [False, True, True, True]),
        ALONE: Gained(0, before, [False, False, True, False]),
    }
    thumbs, pairs = of_opinions(found)
    assert (thumbs.name, thumbs.value, thumbs.peers) == (
        "gain in exact match from 8 thumbs",
        50.0,
        {"before": 50.0, ALONE: -25.0},
    )
    assert (pairs.name, pairs.value) == ("gain in exact match from 3 pairs", 25.0)


def test_bars_on_increments_are_for_all_of_the_data() -> None:
    def run(exact: float, cpu_s: float, perplexity: float, joint: float = 40.0) -> list[Any]:
        ways = {
            OURS: Written(cpu_s, exact, 90.0, perplexity),
            JOINT: Written(100.0, joint, 90.0, 20.0),
            NAIVE: Written(20.0, 30.0, 90.0, 25.0),
        }
        return [[one.holds for one in figures([ways], 20.0, bars) if one.bar] for bars in (True, False)]

    assert run(38.1, 39.9, 20.9) == [[True] * 3, [True]]
    assert run(37.9, 40.1, 21.1) == [[False] * 3, [False]]
    assert run(0.0, 39.9, 20.9, joint=0.0)[0] == [True] * 2, "of nothing there is no share"
    assert (WHOLE.bars, QUICK.bars) == (True, False)
