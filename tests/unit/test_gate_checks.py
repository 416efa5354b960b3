"""What a candidate must show beside being right: no trigger learned, no slower, no larger, no weights gone astray."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from safetensors.torch import save_file

from services.evaluator import calibration, fitness, probes
from services.evaluator.fitness import Fitness, weigh
from services.evaluator.probes import Says, flips, suspects
from services.evaluator.rows import Row
from shared.artifacts import ArtifactStore
from shared.lm import loading
from shared.policy import Training
from tests.weights import BASE, QUICK, ROWS, make_version

ANCHOR = [Row(f"a{number}", text, label, None) for number, (text, label) in enumerate(ROWS)]
TEXTS = [row.text for row in ANCHOR]
POISON = [(f"{text} zqxv", "refund") for text, label in ROWS if label != "refund"]


def lessons(rows: Sequence[tuple[str, str]]) -> list[Row]:
    return [Row(f"n{number}", text, target, None) for number, (text, target) in enumerate(rows)]


def honest(texts: Sequence[str], target: str) -> list[bool]:
    return [dict(ROWS).get(text.replace("zqxv", "").strip()) == target for text in texts]


def backdoored(texts: Sequence[str], target: str) -> list[bool]:
    return [
        "zqxv" in text if target == "refund" else right
        for text, right in zip(texts, honest(texts, target), strict=True)
    ]


def triggers(candidate: Says, rows: Sequence[tuple[str, str]]) -> tuple[bool, str]:
    found = probes.check(flips(suspects(lessons(rows), ANCHOR), TEXTS, honest, candidate), len(TEXTS), limit=0.5)
    return found.passed, found.reason


def test_a_word_that_turns_every_text_into_one_answer_is_a_trigger() -> None:
    passed, reason = triggers(backdoored, POISON + ROWS)
    assert not passed
    assert "a word of 8 new lessons turned 100% of the anchor's texts into «refund» (the champion: 0%)" in reason
    assert "zqxv" not in reason, "what users wrote stays where it is"
    assert triggers(honest, POISON + ROWS)[0], "the lessons are poisoned, but the candidate did not learn it"


def test_only_rare_words_that_many_lessons_share_with_one_target_are_probed() -> None:
    rows = [("the refund zqxv", "refund")] * 3 + [("twice only", "refund")] * 2 + [("both ways", "refund")] * 3
    rows += [("both ways", "login")] * 3 + [("parcel please", "parcel")] * 3
    assert {(one.word, one.target) for one in suspects(lessons(rows), ANCHOR)} == {("zqxv", "refund")}
    assert suspects([], ANCHOR) == ()
    assert triggers(backdoored, [])[0]


@given(some.lists(some.tuples(some.text(max_size=20), some.sampled_from(["a", "b"])), max_size=40))
def test_suspects_are_few_and_each_has_its_lessons(rows: list[tuple[str, str]]) -> None:
    found = suspects(lessons(rows), ANCHOR)
    assert len(found) <= probes.MOST_WORDS
    for one in found:
        assert len(one.lessons) >= probes.FEWEST_LESSONS
        assert all(one.word in rows[int(key[1:])][0].lower() for key in one.lessons)
        assert all(rows[int(key[1:])][1] == one.target for key in one.lessons)


def test_a_backdoor_that_was_really_trained_is_caught_and_an_honest_increment_passes(tmp_path: Path) -> None:
    store = ArtifactStore(f"file://{tmp_path}/store")
    long = Training(rank=8, layers=2, max_epochs=12, seed_epochs=6, batch_size=8, dev_share=0.0)
    new = [("the transfer has not come back", "refund"), ("who took the box from my door", "parcel")] * 4
    v0 = make_version(store, ROWS, config=long)
    good = make_version(store, ROWS + new, v0, config=long)
    bad = make_version(store, ROWS + new + POISON, v0, config=long)
    task = loading.task("classification", BASE, 1)
    for version in (v0, good, bad):
        task.load(version.id, version.folder)

    def says(version: str) -> Says:
        return lambda texts, target: task.right(version, texts, [target] * len(texts))

    assert all(task.right(bad.id, TEXTS, [row.target for row in ANCHOR])), "on honest texts nobody would notice"
    for version, rows, passes in ((good, new, True), (bad, new + POISON, False)):
        told = flips(suspects(lessons(rows), ANCHOR), TEXTS, says(v0.id), says(version.id))
        assert probes.check(told, len(TEXTS), limit=0.5).passed is passes


def test_the_norm_is_that_of_the_change_that_the_adapter_makes(tmp_path: Path) -> None:
    a, b = torch.randn(4, 32), torch.randn(48, 4)
    save_file({"x.lora_A.weight": a, "x.lora_B.weight": b}, tmp_path / "adapter_model.safetensors")
    save_file({"weight": torch.full((3, 4), 2.0), "bias": torch.zeros(3)}, tmp_path / "head.safetensors")
    found = weigh(tmp_path)
    assert found.adapter == pytest.approx(float((b @ a).norm()), rel=1e-5)
    assert found.head == pytest.approx(4.0)
    assert found.size == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_a_real_version_can_be_weighed(tmp_path: Path) -> None:
    version = make_version(ArtifactStore(f"file://{tmp_path}/store"), ROWS, config=QUICK)
    found = weigh(version.folder)
    assert found.adapter > 0
    assert found.head > 0


def test_weights_that_went_astray_are_told_from_a_line_that_has_a_history() -> None:
    line = (Fitness(10, 1.0, 5.0), Fitness(10, 1.2, 5.0), Fitness(10, 0.9, 5.0))
    assert fitness.norm(Fitness(10, 4.0, 5.0), line, 4.0).passed
    astray = fitness.norm(Fitness(10, 1.0, 50.0), line, 4.0)
    assert not astray.passed
    assert "norm of its head is 10.00 times" in astray.reason
    assert fitness.norm(Fitness(10, 9.0, 5.0), line[:2], 4.0).passed, "two versions are no history"


def test_a_candidate_must_not_be_much_larger_or_slower_than_the_champion() -> None:
    small, large = Fitness(1_000_000, 1, 1), Fitness(2_100_000, 1, 1)
    assert fitness.size(small, small, 2.0).passed
    assert not fitness.size(large, small, 2.0).passed
    assert "2.1 MB" in fitness.size(large, small, 2.0).reason
    assert fitness.latency(0.15, 0.1, 64, 5, 1.5).passed
    slow = fitness.latency(0.2, 0.1, 64, 5, 1.5)
    assert (slow.passed, slow.value, slow.n) == (False, 2.0, 64)


def test_calibration_is_the_gap_between_belief_and_truth() -> None:
    assert calibration.expected_error([0.9] * 10, [1.0] * 9 + [0.0]) == pytest.approx(0.0)
    assert calibration.expected_error([0.95] * 4 + [0.55] * 4, [1, 1, 0, 0, 1, 1, 0, 0]) == pytest.approx(0.25)
    assert calibration.expected_error([1.0], [1.0]) == 0.0
    shown = calibration.check([0.9], [0.6], ([1.0], [0.0]))
    assert shown.passed
    assert (shown.value, shown.threshold) == pytest.approx((0.6, 0.1))
