"""The child that trains: it reports, leaves the files, says how it failed, and does not outlive its parent."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from services.trainer.child import Child, Job, context, start, thin
from services.trainer.reports import Failure, Outcome, Progress, Report
from services.trainer.snapshot import Lesson, Snapshot
from shared.lm.bases import PACKAGED
from shared.policy import Training
from shared.text import short_hash
from tests.weights import BASE, MODEL, QUICK, ROWS

DEADLINE_S = 60
STEPS = 100_000
ENDLESS = QUICK.model_copy(update={"seed_epochs": STEPS, "plateau": 0})
FILES = {"adapter_model.safetensors", "adapter_config.json", "head.safetensors", "labels.json"}


@contextmanager
def child(output: Path, config: Training = QUICK, rows: Sequence[tuple[str, str]] = ROWS) -> Iterator[Child]:
    """A child that learns the rows; the texts of other rows are not there."""
    lessons = tuple(Lesson(id=short_hash(text), target=target, weight=1.0) for text, target in ROWS)
    snapshot = Snapshot(
        request_id="r",
        model=MODEL,
        task="classification",
        base=BASE,
        parent=None,
        parent_manifest=None,
        new=lessons,
        replay=(),
        config=config,
    )
    texts = {short_hash(text): text for text, _ in rows}
    one = start(context(), Job(snapshot, texts, None, output, threads=1))
    try:
        yield one
    finally:
        one.stop()


def reports(one: Child) -> list[Report]:
    """All that a child says until it is done or has begun to train for ever."""
    told: list[Report] = []
    deadline = time.monotonic() + DEADLINE_S
    while not told or (isinstance(told[-1], Progress) and told[-1].steps < STEPS):
        assert time.monotonic() < deadline, "the child said nothing more"
        one.reports.poll(0.1)
        told += one.news()
    return told


def test_it_tells_how_it_goes_and_leaves_the_files(tmp_path: Path) -> None:
    with child(tmp_path) as one:
        *progress, outcome = reports(one)
    assert isinstance(outcome, Outcome)
    assert progress, "at least the last step is told"
    last = progress[-1]
    assert isinstance(last, Progress)
    assert (last.step, last.steps, last.seconds_left) == (6, 6, 0)  # 12 rows in batches of 8, three times
    assert (outcome.steps, len(outcome.loss_curve), outcome.labels) == (6, 6, ("login", "parcel", "refund"))
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert outcome.costs.peak_memory_mb > 90, "the base alone has 90 MB"
    assert outcome.costs.cpu_s > 0
    assert 0 < outcome.costs.energy_wh < outcome.costs.cpu_s / 100
    parts = {"prepare_s", "fit_s", "choose_s", "save_s"}
    assert outcome.phases.keys() == {"load_s", "train_s"} | parts
    assert all(seconds > 0 for seconds in outcome.phases.values())
    assert sum(outcome.phases[part] for part in parts) <= outcome.phases["train_s"]
    assert outcome.costs.gpu_s == 0, "there is none here"
    assert outcome.base_digest == f"sha256:{PACKAGED[BASE].sha256}"


def test_an_error_is_told_by_its_name_alone(tmp_path: Path) -> None:
    with child(tmp_path, rows=ROWS[1:]) as one:
        assert reports(one) == [Failure("raised KeyError")]


def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path) -> None:
    with child(tmp_path, QUICK.model_copy(update={"learning_rate": 1e30})) as one:
        assert reports(one)[-1] == Failure("raised DivergedError")
    assert list(tmp_path.iterdir()) == []


def test_it_is_ended_in_the_middle(tmp_path: Path) -> None:
    with child(tmp_path, ENDLESS) as one:
        reports(one)
        assert one.process.is_alive()
        one.stop()
        assert not one.process.is_alive()
        assert one.news() == []


def test_it_ends_when_nobody_listens(tmp_path: Path) -> None:
    with child(tmp_path, ENDLESS) as one:
        reports(one)
        one.reports.close()
        one.process.join(DEADLINE_S)
        assert one.process.exitcode == 1


@given(some.lists(some.floats(allow_nan=False)), some.integers(2, 50))
def test_a_thinned_curve_keeps_its_ends_and_its_order(curve: list[float], most: int) -> None:
    thinned = thin(tuple(curve), most)
    assert len(thinned) == min(len(curve), most)
    if curve:
        assert (thinned[0], thinned[-1]) == (curve[0], curve[-1])
    rest = iter(curve)
    assert all(point in rest for point in thinned)


@pytest.mark.parametrize("length", [200, 201, 5000])
def test_a_curve_never_outgrows_its_event(length: int) -> None:
    assert len(thin(tuple(map(float, range(length))))) == 200
