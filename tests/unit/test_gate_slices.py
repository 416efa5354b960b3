"""Harm that the whole hides: it blocks where it is shown, and where it is not, what would have been seen is told."""

from __future__ import annotations

import random

from services.evaluator.evidence import gather
from services.evaluator.gate import judge, parentage
from services.evaluator.rows import Row
from services.evaluator.slices import FEWEST, harm, slices
from services.evaluator.statistics import Paired
from shared.policy import Gate
from tests.unit.recorder_story import MODEL, Database, added, corrected

NONE = Paired((), (), ())
LINEAGE = parentage("v0", "v0")


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
