"""Learning velocity on rows that can be counted by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from services.board import fixes, served
from services.board.proportion import Proportion, difference
from services.board.velocity import velocity
from shared.tables import open_database
from tests.board_rows import MODEL, Rows


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_database(f"sqlite:///{tmp_path}/board.db")


def asked(rows: Rows, version: str, start: float, answers: str) -> None:
    """Solicited answers, one every ten seconds: `+` for right, `-` for wrong."""
    for number, answer in enumerate(answers):
        rows.asked(version, start + number * 10, right=answer == "+")


def two_reigns(engine: Engine) -> Rows:
    """v0 answers 1 of 4 right, v1 answers 3 of 4 right."""
    rows = Rows(engine)
    rows.add_model(["delivery"])
    v0, v1 = rows.version(0, 1), rows.version(1, 90, parent=0)
    rows.champion(v0, 2)
    rows.champion(v1, 100, v0)
    rows.verdict(v0, None, "promote", 2)
    rows.verdict(v1, v0, "promote", 99)
    asked(rows, v0, 10, "--+-")
    asked(rows, v1, 110, "++-+")
    return rows


def test_wilson_band_equals_the_textbook() -> None:
    band = Proportion(81, 263).band  # Newcombe 1998, table I
    assert band == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert Proportion(0, 0).value is None
    assert Proportion(0, 0).band == (0.0, 1.0)


def test_newcombe_difference_equals_the_textbook() -> None:
    found = difference(Proportion(48, 80), Proportion(56, 70))  # Newcombe 1998, table II a: 0.20 (0.0524, 0.3339)
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    assert difference(Proportion(0, 0), Proportion(1, 1)) is None


@given(st.integers(0, 500), st.integers(1, 500))
def test_a_band_holds_its_value(hits: int, n: int) -> None:
    found = Proportion(min(hits, n), n)
    assert found.value is not None
    assert 0 <= found.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.high <= 1


def test_served_accuracy_then_and_now(engine: Engine) -> None:
    two_reigns(engine).write()
    found = velocity(engine, MODEL)
    assert (found.first, found.now) == (Proportion(1, 4), Proportion(3, 4))
    assert found.gain == pytest.approx(0.5)
    assert (found.predictions, found.feedback) == (8, 8)
    assert found.gain_per_100_feedback == pytest.approx(0.5 / 8 * 100)
    assert found.by_version == {"v0": Proportion(1, 4), "v1": Proportion(3, 4)}
    assert velocity(engine, MODEL, window=2).now == Proportion(1, 2)


def test_volunteered_feedback_never_counts_as_served_accuracy(engine: Engine) -> None:
    rows = two_reigns(engine)
    for second in range(50):
        rows.say(rows.prediction(f"{MODEL}-01", 200 + second), 201 + second, wrong=True)
    rows.write()
    assert velocity(engine, MODEL).now == Proportion(3, 4)


def test_the_last_word_on_a_prediction_counts_once(engine: Engine) -> None:
    rows = Rows(engine)
    rows.add_model([])
    prediction = rows.prediction(rows.version(0, 1), 10, solicit=True)
    rows.say(prediction, 11, wrong=True, solicited=True)
    rows.say(prediction, 12, "correction", wrong=False, solicited=True)
    rows.say(prediction, 13, "comment", wrong=None, solicited=True)
    rows.write()
    assert velocity(engine, MODEL).now == Proportion(1, 1)


def test_promotions_are_compared_reign_by_reign(engine: Engine) -> None:
    rows = two_reigns(engine)
    v0, v1 = f"{MODEL}-00", f"{MODEL}-01"
    rows.champion(v0, 200, v1, "rolled back")
    asked(rows, v0, 210, "+++")
    rows.write()
    promoted, rolled_back = velocity(engine, MODEL, window=2).champions
    assert (promoted.name, promoted.rollback) == ("v1", False)
    assert (promoted.before, promoted.after) == (Proportion(1, 2), Proportion(2, 2))
    assert (rolled_back.name, rolled_back.rollback) == ("v0", True)
    assert (rolled_back.before, rolled_back.after) == (Proportion(1, 2), Proportion(2, 2))


def test_verdicts_are_counted_without_the_first_version(engine: Engine) -> None:
    rows = two_reigns(engine)
    for number, outcome in ((2, "reject"), (3, "inconclusive"), (4, "reject")):
        candidate = rows.version(number, 100 + number, parent=1)
        rows.verdict(candidate, f"{MODEL}-01", "inconclusive", 140 + number)  # which a later look settles
        rows.verdict(candidate, f"{MODEL}-01", outcome, 150 + number)
    rows.write()
    found = velocity(engine, MODEL)
    assert (found.increments, found.promotions, found.rejections, found.inconclusive) == (4, 1, 2, 1)


def correct(rows: Rows, example_id: str, seconds: float, **given: object) -> None:
    rows.say(
        rows.prediction(f"{MODEL}-00", seconds - 1, example_id=example_id),
        seconds, "correction", **{"wrong": True, "example_id": example_id, **given},
    )  # fmt: skip


def test_feedback_to_fix_runs_from_the_first_correction_to_the_first_served_answer(engine: Engine) -> None:
    rows = two_reigns(engine)  # v1 is trained at 90 and answers first at 110
    for example_id, seconds in (("a", 10), ("b", 50), ("c", 60)):
        correct(rows, example_id, seconds)
    correct(rows, "b", 80)  # the first correction is the one that counts
    rows.example("a", fixed_in=f"{MODEL}-01", fixed_at=rows.at(100))
    rows.example("b", fixed_in=f"{MODEL}-01", fixed_at=rows.at(100))
    rows.example("c")
    correct(rows, "d", 20, solicited=True)  # asked for: evidence, not a lesson
    rows.example("d", side="holdout", status="holdout")
    correct(rows, "e", 30, wrong=False)  # confirms the output
    rows.example("e")
    rows.write()
    found = velocity(engine, MODEL).fix_times
    assert (found.fixed, found.open) == (2, 1)
    assert found.p50_s == pytest.approx(80)  # 100 s and 60 s
    assert found.p95_s == pytest.approx(98)
    assert [(fix.name, fix.seconds) for fix in fixes.latest(engine, MODEL)] == [("v1", 60), ("v1", 100)]


def test_a_fix_that_was_not_served_yet_counts_from_its_promotion(engine: Engine) -> None:
    rows = two_reigns(engine)
    v2 = rows.version(2, 300, parent=1)
    correct(rows, "a", 290)
    rows.example("a", fixed_in=v2, fixed_at=rows.at(310))
    rows.write()
    found = velocity(engine, MODEL).fix_times
    assert (found.fixed, found.p50_s, found.p95_s) == (1, 20, 20)


def test_repeats_are_answers_on_inputs_that_were_corrected_before(engine: Engine) -> None:
    rows = Rows(engine)
    rows.add_model([])
    correct(rows, "a", 10)
    for seconds, wrong in ((20, True), (30, False), (40, None)):
        rows.say(rows.prediction(f"{MODEL}-00", seconds, example_id="a"), seconds + 1, example_id="a", wrong=wrong)
    rows.say(rows.prediction(f"{MODEL}-00", 50, example_id="b"), 51, example_id="b", wrong=True)
    rows.write()
    found = velocity(engine, MODEL).repeats
    assert (found.judged, found.wrong) == (2, 1)


def test_a_model_without_anything_has_no_figures(engine: Engine) -> None:
    rows = Rows(engine)
    rows.add_model([])
    rows.write()
    found = velocity(engine, MODEL)
    assert (found.now.value, found.gain, found.gain_per_100_feedback) == (None, None, None)
    assert (found.fix_times.p50_s, found.fix_times.p95_s, found.champions) == (None, None, ())
    assert served.curve(engine, MODEL) == ()


def test_the_curve_rolls_and_stays_drawable(engine: Engine) -> None:
    rows = Rows(engine)
    rows.add_model([])
    asked(rows, rows.version(0, 0), 1, "-" * 400 + "+" * 600)
    rows.write()
    drawn = served.curve(engine, MODEL)
    assert len(drawn) <= served.POINTS + 1
    assert drawn[0].accuracy.n >= served.FIRST_DRAWN
    assert drawn[-1].at == rows.at(1 + 999 * 10)
    assert drawn[-1].accuracy == Proportion(served.WINDOW, served.WINDOW)
    assert [point.at for point in drawn] == sorted(point.at for point in drawn)


def test_other_models_do_not_leak_in(engine: Engine) -> None:
    two_reigns(engine).write()
    assert velocity(engine, "other").predictions == 0
    assert velocity(engine, "other").now == Proportion(0, 0)


def test_the_board_never_reaches_torch() -> None:
    modules = [path.stem for path in Path("services/board").glob("*.py") if path.stem not in ("__init__", "app")]
    program = f"import importlib, sys\nfor name in {modules}: importlib.import_module(f'services.board.{{name}}')\n"
    program += "assert not {'torch', 'transformers', 'peft'} & set(sys.modules), 'torch'"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
