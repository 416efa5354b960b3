"""The demo: a story cut from any folder, users who say what the issue says, and a report that tells the truth."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path

import pytest
from learnback import Prediction, Stats
from rich.console import Console

from cli.examples import read_rows
from local.demo.report import Report, make_room
from local.demo.scenarios import EXTRACT, kind_of
from local.demo.story import ANCHORS, HELP_DESK, SEEDS, read_story, write_rows
from local.demo.users import Traffic, opinion
from services.recorder.redaction import redact
from shared.datasets import Row
from shared.errors import BadInputError, FatalError
from shared.text import fingerprint

LABELS = ["a", "b", "c", "d"]
ANSWERS = 20_000
REPORT = Report(
    dataset="set", predictions=8000, distinct_texts=8000, feedback_accepted=10, feedback_stored=10, lost=0,
    duplicates=0, increments=5, promotions=3, rejections=1, inconclusive=1, compared=1000, accuracy_first=0.9,
    accuracy_last=0.8, accuracy_v0_last=0.4, accuracy_joint_ceiling=0.82, labels_at_start=90,
    labels_at_end=150, corrections_fixed=7, corrections_open=1, feedback_to_fix_p50_s=30.0, feedback_to_fix_p95_s=None,
    train_examples_per_s=200.0, swap_failed_requests=0, wall_s=470.0,
)  # fmt: skip


def answered(output: str, solicit: bool) -> Prediction:
    return Prediction("p", "demo", "v", output, (), solicit)


def shares(output: str, solicit: bool) -> dict[str, float]:
    """How often users say what of an answer to a question whose right label is «a»."""
    chance, said = random.Random(0), {"nothing": 0, "right": 0, "wrong": 0, "up": 0, "down": 0}
    for _ in range(ANSWERS):
        saying = opinion(answered(output, solicit), Row(text="t", label="a"), LABELS, chance)
        if saying is None:
            said["nothing"] += 1
        elif saying.thumbs:
            said[saying.thumbs] += 1
        else:
            said["right" if saying.correction == "a" else "wrong"] += 1
    return {name: count / ANSWERS for name, count in said.items()}


@pytest.mark.parametrize("output", ["a", "b"])
def test_who_is_asked_always_gives_a_label_and_3_percent_are_wrong(output: str) -> None:
    said = shares(output, solicit=True)
    assert said["right"] + said["wrong"] == 1
    assert said["wrong"] == pytest.approx(0.03, abs=0.005)


def test_errors_are_volunteered_more_often_than_successes() -> None:
    wrong, right = shares("b", solicit=False), shares("a", solicit=False)
    assert wrong["nothing"] == pytest.approx(0.4, abs=0.015)
    assert wrong["down"] == pytest.approx(0.3, abs=0.015)
    assert wrong["wrong"] / (wrong["wrong"] + wrong["right"]) == pytest.approx(0.03, abs=0.01)
    assert right["up"] == pytest.approx(0.05, abs=0.006)
    assert right["nothing"] + right["up"] == 1


def test_the_help_desk_set_is_large_and_nothing_is_in_it_twice() -> None:
    rows = read_rows(HELP_DESK / "train.jsonl") + read_rows(HELP_DESK / "test.jsonl")
    texts: dict[str, set[str]] = {}
    for row in rows:
        texts.setdefault(row.label, set()).add(fingerprint(row.text))
    assert len(texts) >= 24
    assert min(map(len, texts.values())) >= 50
    assert sum(map(len, texts.values())) == len(rows)


def test_the_letters_are_many_and_say_what_is_to_be_found_in_them() -> None:
    rows = [row for part in ("train", "test") for row in read_rows(EXTRACT.data / f"{part}.jsonl", "generation")]
    assert len({fingerprint(row.text) for row in rows}) == len(rows) == 750
    assert set(Counter(kind_of(row, "generation") for row in rows).values()) == {75}
    for row in rows:
        said = json.loads(row.label)
        assert said["slots"]
        assert all(value in row.text for value in said["slots"].values())
        assert redact(row.text) == row.text


def test_a_story_of_letters_has_intents_for_labels() -> None:
    story = read_story(EXTRACT.data, 600, 0, EXTRACT)
    assert (len(story.known), len(story.labels), story.dataset) == (6, 10, "letters")
    assert {kind_of(row, "generation") for row in (*story.seeds, *story.stream[:150])} == set(story.known)
    assert {kind_of(row, "generation") for row in story.stream[150:]} == set(story.labels)


def test_rows_with_intent_and_slots_are_letters_too(tmp_path: Path) -> None:
    for name, numbers in (("train.jsonl", range(20)), ("test.jsonl", range(20, 40))):
        said = [
            {"text": f"{intent} {n}", "intent": intent, "slots": {"n": f"{n}"}} for intent in "abcde" for n in numbers
        ]
        (tmp_path / name).write_text("".join(f"{json.dumps(one)}\n" for one in said))
    story = read_story(tmp_path, 100, 0, EXTRACT)
    assert story.seeds[0].label == json.dumps(
        {"intent": story.known[0], "slots": {"n": story.seeds[0].text.split()[1]}}
    )
    write_rows(tmp_path / "seeds.jsonl", story.seeds, "generation")
    assert read_rows(tmp_path / "seeds.jsonl", "generation") == list(story.seeds)


def test_who_knows_better_corrects_json_however_it_is_spelt() -> None:
    right = Row(text="t", label='{"intent": "a", "slots": {}}')
    chance, said = random.Random(0), Counter[str]()
    for output in (right.label.replace(" ", ""), "nonsense"):
        for _ in range(ANSWERS):
            saying = opinion(answered(output, False), right, LABELS, chance, EXTRACT)
            if saying is not None:
                kind = "wrong" if saying.correction not in (None, right.label) else "right"
                said[saying.thumbs or kind] += 1
                assert saying.correction is None or json.loads(saying.correction)["slots"] == {}
    assert said["up"] / ANSWERS == pytest.approx(0.05, abs=0.006)
    assert said["down"] / ANSWERS == pytest.approx(0.12, abs=0.01)
    assert said["wrong"] / (said["wrong"] + said["right"]) == pytest.approx(0.03, abs=0.01)


def test_a_story_keeps_seeds_anchor_and_stream_apart() -> None:
    story = read_story(HELP_DESK, 2000, 3)
    assert len(story.seeds) == SEEDS * len(story.known)
    assert len(story.anchor) == ANCHORS * len(story.known)
    parts = [{fingerprint(row.text) for row in part} for part in (story.seeds, story.anchor, story.stream)]
    assert not parts[0] & parts[1]
    assert not (parts[0] | parts[1]) & parts[2]
    assert len(story.known) == round(0.6 * len(story.labels))
    assert {row.label for row in story.stream[:1000]} <= set(story.known)
    assert {row.label for row in story.stream[1000:]} == set(story.labels)
    assert story.labels_at(999) == list(story.known)
    assert story.labels_at(1000) == list(story.labels)
    assert read_story(HELP_DESK, 2000, 3) == story
    assert read_story(HELP_DESK, 2000, 4) != story


def test_nothing_is_asked_twice_where_there_are_texts_enough(tmp_path: Path) -> None:
    rows = [Row(text=f"text {number} of {label}", label=label) for label in "abcdefgh" for number in range(400)]
    for name, part in (("train.jsonl", rows[::2]), ("test.jsonl", rows[1::2])):
        write_rows(tmp_path / name, part)
    story = read_story(tmp_path, 2000, 0)
    assert story.distinct == len({row.text for row in story.stream}) == 2000


def test_too_little_data_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"train\.jsonl"):
        read_story(tmp_path, 2000, 0)
    for name in ("train.jsonl", "test.jsonl"):
        write_rows(tmp_path / name, [Row(text=f"text {number}", label="one") for number in range(40)])
    with pytest.raises(BadInputError, match="at least 5 labels with 26 texts each"):
        read_story(tmp_path, 2000, 0)


def test_a_report_that_cannot_be_written_is_told_before_the_demo(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FatalError, match="cannot be written"):
        make_room(tmp_path / "file" / "report.json")


def test_no_answer_is_a_failure_and_not_right() -> None:
    rows = tuple(Row(text="t", label="a") for _ in range(4))
    answers = [answered("a", False), None, answered("b", False), None]
    traffic = Traffic(answers, rows, stats=Stats(0, 0, 0, 0, 0), asked=3)
    assert traffic.accuracy(0, 4) == 0.25
    assert traffic.accuracy(-500, 1) == 1.0
    assert traffic.failed == 1


def test_the_report_tells_why_the_loop_did_not_close(tmp_path: Path) -> None:
    assert REPORT.failures() == []
    broken = replace(REPORT, lost=2, duplicates=1, swap_failed_requests=3, promotions=0, accuracy_last=0.4)
    assert len(broken.failures()) == 5
    make_room(tmp_path / "new" / "report.json")
    REPORT.write(tmp_path / "new" / "report.json")
    assert json.loads((tmp_path / "new" / "report.json").read_text()) == asdict(REPORT)
    console = Console(width=120, record=True, file=StringIO())
    console.print(REPORT.table())
    shown = console.export_text()
    assert "80.0%" in shown
    assert "none yet" in shown
