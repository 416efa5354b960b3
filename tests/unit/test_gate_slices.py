"""Harm that the whole hides: it blocks where it is shown, and where it is not, what would have been seen is told."""

from __future__ import annotations

import random

import pytest

from services.evaluator.evidence import gather
from services.evaluator.gate import judge, parentage
from services.evaluator.rows import Row
from services.evaluator.slices import FEWEST, confusions, harm, slices
from services.evaluator.statistics import Paired
from shared.policy import Gate
from tests.unit.recorder_story import MODEL, Database, added, corrected

NONE = Paired((), (), ())
LINEAGE = parentage("v0", "v0")
KNOWN = {"login", "parcel", "refund"}


def row(number: int, target: str, *tags: tuple[str, str]) -> Row:
    return Row(f"e{number}", f"text {number}", target, None, tags)


def world(counts: dict[str, tuple[int, int, int]]) -> tuple[Paired, list[Row]]:
    """By label: rows gained, lost, and right by both."""
    rows: list[Row] = []
    answers: list[tuple[float, float]] = []
    for label, (gained, lost, both) in counts.items():
        of_label = [(0.0, 1.0)] * gained + [(1.0, 0.0)] * lost + [(1.0, 1.0)] * both
        answers += of_label
        rows += [row(len(rows) + number, label) for number in range(len(of_label))]
    champion, candidate = zip(*answers, strict=True)
    return Paired(champion, candidate, (None,) * len(rows)), rows


def test_a_label_that_got_worse_blocks_a_candidate_that_gained_as_a_whole() -> None:
    evidence, rows = world({"refund": (60, 0, 100), "login": (0, 12, 40), "parcel": (1, 1, 50)})
    check = harm(evidence, slices(rows), 0.8)
    verdict = judge(evidence, NONE, LINEAGE, 0, Gate(), [check])
    assert (verdict.outcome, verdict.alpha) == ("reject", None)
    assert judge(evidence, NONE, LINEAGE, 0, Gate()).outcome == "promote", "the slice alone blocks it"
    assert "1 of 3 slices: «label login» (0 gained, 12 lost of 52)" in verdict.reason


def confused(counts: dict[str, tuple[int, int, int]]) -> tuple[Paired, list[Row], list[str], list[str]]:
    """By answer, for rows whose right label is login: gained and lost by it, and so answered by both."""
    said: list[tuple[str, str]] = [("login", "login")] * 200
    for answer, (gained, lost, both) in counts.items():
        said += [(answer, "login")] * gained + [("login", answer)] * lost + [(answer, answer)] * both
    champion, candidate = ([pair[side] for pair in said] for side in (0, 1))
    right = [tuple(float(one == "login") for one in some) for some in (champion, candidate)]
    rows = [row(number, "login") for number in range(len(said))]
    return Paired(right[0], right[1], (None,) * len(rows)), rows, champion, candidate


def test_a_new_confusion_blocks_though_the_label_gained() -> None:
    evidence, rows, champion, candidate = confused({"parcel": (30, 0, 5), "refund": (0, 12, 3)})
    narrow = confusions(rows, evidence, champion, candidate, KNOWN)
    assert {name: len(members) for name, members in narrow.items()} == {
        "confusion parcel→login": 35, "confusion refund→login": 15,
    }  # fmt: skip
    assert harm(evidence, slices(rows), 0.8).passed, "no other slice shows it"
    check = harm(evidence, slices(rows), 0.8, narrow)
    assert not check.passed
    assert "1 of 3 slices: «confusion refund→login» (0 gained, 12 lost of 15)" in check.reason
    assert check.value == pytest.approx(3 * 0.5**12)


def test_a_confusion_is_tested_only_where_the_versions_differ_often_enough() -> None:
    evidence, rows, champion, candidate = confused({"parcel": (4, 3, 90)})
    assert confusions(rows, evidence, champion, candidate, KNOWN) == {}
    evidence, rows, champion, candidate = confused({"parcel": (4, 4, 0)})
    narrow = confusions(rows, evidence, champion, candidate, KNOWN)
    assert "No proven harm in 1 slices and 1 confusions" in harm(evidence, slices(rows), 0.8, narrow).reason
    assert "No proven harm in 0 slices and 1 confusions" in harm(evidence, {}, 0.8, narrow).reason


def test_a_label_that_only_one_version_knows_makes_no_confusion() -> None:
    evidence, rows, champion, candidate = confused({"gift card": (0, 12, 0)})
    assert confusions(rows, evidence, champion, candidate, KNOWN) == {}


def test_equal_candidates_are_hardly_ever_blocked_by_confusions() -> None:
    chance, blocked, tested, trials = random.Random(7), 0, 0, 200
    for _ in range(trials):
        rows = [row(n, f"label {n % 6}") for n in range(900)]
        sides = [
            [f"label {chance.randrange(3)}" if chance.random() < 0.2 else one.target for one in rows] for _ in range(2)
        ]
        right = [tuple(float(said == one.target) for said, one in zip(some, rows, strict=True)) for some in sides]
        evidence = Paired(right[0], right[1], (None,) * len(rows))
        narrow = confusions(rows, evidence, sides[0], sides[1], {one.target for one in rows})
        tested += len(narrow)
        blocked += not harm(evidence, slices(rows), 0.8, narrow).passed
    assert tested > 10 * trials
    assert blocked <= 0.05 * trials + 3 * (0.05 * 0.95 * trials) ** 0.5


def test_no_proven_harm_tells_the_loss_that_would_have_been_seen() -> None:
    evidence, rows = world({"refund": (30, 5, 100), "login": (1, 2, 40)})
    check = harm(evidence, slices(rows), 0.8)
    assert check.passed
    assert "No proven harm in 2 slices" in check.reason
    assert "(n = 43) to" in check.reason
    assert "(n = 135)" in check.reason


def test_slices_are_labels_and_tags_with_rows_enough() -> None:
    rows = [row(n, "refund", ("lang", "de" if n % 3 else "en")) for n in range(FEWEST)] + [row(99, "login")]
    assert {name: len(members) for name, members in slices(rows).items()} == {"label refund": FEWEST}
    rows += [row(n, "login", ("lang", "de")) for n in range(100, 110)]
    assert set(slices(rows)) == {"label refund", "lang=de"}
    assert harm(Paired((1.0,), (1.0,), (None,)), slices([row(1, "login")]), 0.8).passed


def test_equal_candidates_are_hardly_ever_blocked_whatever_the_number_of_slices() -> None:
    chance, blocked, trials = random.Random(5), 0, 200
    for _ in range(trials):
        rows = [row(n, f"label {n % 12}") for n in range(600)]
        answers = [
            (0.0, 1.0) if (draw := chance.random()) < 0.05 else (1.0, 0.0) if draw < 0.1 else (1.0, 1.0) for _ in rows
        ]
        champion, candidate = zip(*answers, strict=True)
        blocked += not harm(Paired(champion, candidate, (None,) * len(rows)), slices(rows), 0.8).passed
    assert blocked <= 0.05 * trials + 3 * (0.05 * 0.95 * trials) ** 0.5


def test_the_tags_of_a_prediction_come_with_its_answer_when_they_are_asked_for() -> None:
    story = Database()
    story.record(added(story, [("where is it", "a"), ("pay me back", "b")]))
    prediction, answer = corrected("p", "lost it", "a", solicit=True)
    story.record(prediction.model_copy(update={"tags": {"lang": "de", "user": "7"}}), answer)
    story.record(*corrected("q", "my money", "b", 5, solicit=True))
    tagged = gather(story.engine, MODEL, 3000, (), tags=["lang", "channel"])
    assert {row.text: row.tags for row in tagged.solicited} == {"lost it": (("lang", "de"),), "my money": ()}
    assert not any(row.tags for row in gather(story.engine, MODEL, 3000, ()).solicited)
