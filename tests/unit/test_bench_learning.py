"""The bench of learning: what it gives to learn, what it calls forgetting, and which bars it holds figures against."""

from __future__ import annotations

import json
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType

import pytest

from bench import learning
from bench.__main__ import parser
from bench.learning.classification import together
from bench.learning.course import Course, Size, course, shots
from bench.learning.figures import STOCK, TUNED, of_all, of_stream
from bench.learning.outcomes import ALL, JOINT, KNOWN, NAIVE, OURS, Learned, Retrained, Transfer
from shared.datasets import Row
from shared.errors import BadInputError

LABELS, ROWS, INCREMENTS = 8, 6, 4


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name, rows in (("train", ROWS), ("test", 3)):
        lines = [
            json.dumps({"text": f"{name} {row} of {label}", "label": f"label {label}"})
            for label in range(LABELS)
            for row in range(rows)
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), "utf-8")
    return tmp_path


def streamed(data: Path, stream: str, seed: int = 0) -> Course:
    return course(stream, seed, Size(increments=INCREMENTS), data)


@pytest.mark.parametrize("stream", learning.STREAMS)
def test_each_lesson_comes_once_and_the_seed_decides_when(data: Path, stream: str) -> None:
    given = streamed(data, stream)
    assert len({row.text for row in given.everything}) == len(given.everything) == LABELS * ROWS
    assert [len(increment) for increment in given.increments] == [LABELS * ROWS // INCREMENTS] * INCREMENTS
    assert given == streamed(data, stream)
    assert given.increments != streamed(data, stream, seed=1).increments


def test_labels_come_later_in_one_stream_alone(data: Path) -> None:
    later, mixed = streamed(data, "class-incremental"), streamed(data, "shuffled")
    assert later.grows
    assert not mixed.grows
    assert [len(group) for group in later.groups] == [LABELS // INCREMENTS] * INCREMENTS
    for number, increment in enumerate(later.increments):
        assert {row.label for row in increment} == later.groups[number] == {row.label for row in later.tested(number)}
    assert later.known(1) == later.groups[0] | later.groups[1]


def test_a_few_rows_are_as_many_of_each_label(data: Path) -> None:
    given = shots(0, Size(labels=5, rows=2, tests=1), data)
    labels = [row.label for row in given.everything]
    assert sorted(labels) == sorted(2 * list(set(labels)))
    assert len(set(labels)) == len(given.test) == 5


def test_an_input_that_differs_in_case_alone_is_no_second_lesson(data: Path) -> None:
    with (data / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write('\n{"text": "TRAIN 0  of 0", "label": "label 1"}')
    assert len(shots(0, Size(), data).everything) == LABELS * ROWS


def test_data_that_is_not_there_is_the_callers_error(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="missing"):
        shots(0, Size(), tmp_path / "elsewhere")


def test_the_answers_of_another_trainer_are_held_against_their_own_rows() -> None:
    pytest.importorskip("accelerate")
    from bench.learning.trainers import RECIPES, retrain

    said = {"refund": "i want my money back", "weather": "will it rain"}
    rows = [Row(text=f"{said[label]} {' please' * (row % 7)}", label=label) for row in range(32) for label in said]
    assert retrain(RECIPES[TUNED], rows * 2, rows).accuracy > 95


def test_only_this_bench_is_asked_for_task_and_stream() -> None:
    other = ModuleType("other", "Another one.")
    found = parser({"learning": learning, "other": other})
    asked = vars(found.parse_args(["learning", "--stream", "shuffled", "--quick"]))
    assert asked == {
        "name": "learning",
        "quick": True,
        "json": None,
        "task": "classification",
        "stream": "shuffled",
        "data": None,
    }
    assert vars(found.parse_args(["other"])) == {"name": "other", "quick": False, "json": None}
    with pytest.raises(SystemExit):
        found.parse_args(["other", "--stream", "shuffled"])


def learned(way: str, accuracy: float, cpu_s: float, *changes: float) -> Learned:
    transfers = {reading: Transfer(changes) for reading in (ALL, KNOWN)} if changes else {}
    return Learned(way, (cpu_s, cpu_s), accuracy, transfers, bf16=True)


def run(accuracy: float, cpu_s: float, *changes: float) -> dict[str, Learned]:
    return {
        OURS: learned(OURS, accuracy, cpu_s, *changes),
        JOINT: learned(JOINT, 95.0, 50.0, *changes),
        NAIVE: learned(NAIVE, 60.0, 5.0, *changes),
    }


def test_what_is_too_dear_or_forgets_too_much_breaks_its_bar() -> None:
    def bars(*runs: dict[str, Learned]) -> list[bool]:
        return [figure.holds for figure in of_stream("class-incremental", runs, bars=True) if figure.holds is not None]

    assert bars(run(94.5, 10, -0.5, -1.5)) == [True] * 6
    assert bars(run(93.5, 10, -0.5, -1.5)) == [False] + [True] * 5
    assert bars(run(94.5, 11, -0.5, -1.5)) == [True, False] + [True] * 4
    assert bars(run(94.5, 10, 0.0, -3.5)) == [True, True] + [False] * 4
    assert bars(run(94.5, 10), run(92.5, 10)) == [False, True], "means over seeds, and no transfer without groups"


def test_who_trained_anew_once_is_taken_to_have_cost_as_much_before_as_with_the_first_seed() -> None:
    first = learned(JOINT, 95.0, 50.0, -0.5)
    once = Learned(JOINT, (60.0,), 94.0, {}, bf16=True)
    runs = {way: [done(run(94.5, 10, -0.5)[way])] * 2 for way in (OURS, NAIVE)}
    found = together(runs, [done(first), done(once)])
    assert [one[JOINT].cpu_s for one in found] == [(50.0, 50.0), (50.0, 60.0)]
    shown = {figure.name: figure for figure in of_stream("class-incremental", found, bars=True)}
    assert shown[f"… of that of {JOINT}"].value == pytest.approx(100 * (20 / 100 + 20 / 110) / 2)
    assert shown[f"… backward transfer {KNOWN}"].peers[JOINT] == -0.5, "of the seed that tells of it"


def done(result: Learned) -> Future[Learned]:
    future: Future[Learned] = Future()
    future.set_result(result)
    return future


def test_quicker_is_by_what_the_last_increment_took() -> None:
    ours, joint = learned(OURS, 95.0, 10.0), learned(JOINT, 97.0, 50.0)
    peers = {TUNED: Retrained(29.0, 96.0, 100), STOCK: Retrained(120.0, 60.0, 100)}
    told = of_all([joint], [ours], peers, bars=True)
    assert [(figure.value, figure.holds) for figure in told if figure.bar] == [(97.0, True), (2.9, False), (12.0, True)]
    assert all(figure.bar is None for figure in of_all([joint], [ours], peers, bars=False))
