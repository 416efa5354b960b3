"""A training that was killed goes on from its last checkpoint, and what comes of it is what would have come without."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from services.trainer.checkpoint import Checkpoint, Stage
from services.trainer.checkpoint_folder import CheckpointFolder
from services.trainer.child import Child, Job, context, start
from services.trainer.costs import Costs
from services.trainer.increment import Trained, train
from services.trainer.origins import Origins
from services.trainer.reports import Outcome, Progress
from services.trainer.snapshot import Lesson, Snapshot
from shared.lm.classification import Classification
from shared.lm.generation import Generation
from shared.lm.task import Task
from shared.manifest import sha256
from shared.policy import Training
from shared.text import short_hash
from tests.weights import BASE, MODEL, QUICK, ROWS

LONG = QUICK.model_copy(update={"seed_epochs": 60, "batch_size": 4, "plateau": 0})  # 180 steps
WRITER = "SmolLM2-135M-Instruct"
SENTENCES = [
    ("cancel order 12", '{"cancel": 12}'),
    ("where is order 31", '{"track": 31}'),
    ("refund 8", '{"refund": 8}'),
]
DEADLINE_S = 100
SPENT = Costs(7.0, 0.0, 1.0, 0.0, 0.5)


class KilledError(Exception):
    """Stands for a kill where there is no process of its own."""


class Dying(Checkpoint):
    """Is written at each step, and after so many the training ends."""

    left = 0

    def keep(self, stage: Callable[[], Stage]) -> None:
        """As its parent does."""
        super().keep(stage)
        self.left -= 1
        if self.left == 0:
            raise KilledError


def checkpoint(path: Path, mark: str = "ours", every_s: float = 0.0, left: int = 0) -> Checkpoint:
    made = Dying(path, every_s, mark, lambda: SPENT)
    made.left = left
    return made


def frozen(config: Training, rows: list[tuple[str, str]] = ROWS, **fields: object) -> Snapshot:
    lessons = tuple(Lesson(id=short_hash(text), target=target, weight=1.0) for text, target in rows)
    common = {"request_id": "r", "model": MODEL, "parent": None, "parent_manifest": None, "replay": ()}
    given = {"task": "classification", "base": BASE, "new": lessons, "config": config}
    return Snapshot.model_validate({**common, **given, **fields})


def texts_of(rows: list[tuple[str, str]]) -> dict[str, str]:
    return {short_hash(text): text for text, _ in rows}


def digests(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in folder.iterdir()}


def made(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def done(one: Child) -> Outcome:
    """What a child comes to."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        one.reports.poll(0.1)
        for news in one.news():
            if not isinstance(news, Progress):
                assert isinstance(news, Outcome)
                return news
    raise AssertionError("the child said nothing more")


def test_a_killed_child_is_gone_on_with_to_the_same_files(tmp_path: Path) -> None:
    snapshot, place = frozen(LONG), tmp_path / "1-key.pt"
    whole, rest = made(tmp_path, "whole"), made(tmp_path, "rest")

    def begin(output: Path, at: Path | None) -> Child:
        return start(context(), Job(snapshot, texts_of(ROWS), None, output, 1, "cpu", at, 0.2))

    uninterrupted = begin(whole, None)
    told = done(uninterrupted)
    victim = begin(made(tmp_path, "killed"), place)
    deadline = time.monotonic() + DEADLINE_S
    while not place.exists():
        assert time.monotonic() < deadline, "nothing was written"
        victim.reports.poll(0.02)
        assert all(isinstance(news, Progress) for news in victim.news()), "it ended before it was killed"
    victim.stop()
    again = done(begin(rest, place))
    assert 0 < again.resumed < again.steps == told.steps
    assert told.resumed == 0
    assert again.loss_curve == told.loss_curve
    assert digests(rest) == digests(whole)
    assert again.phases["fit_s"] <= again.phases["train_s"]


@pytest.mark.parametrize(("name", "killed"), [("labels", 1), ("labels", 3), ("labels", 5), ("texts", 2)])
def test_it_goes_on_in_the_middle_and_at_the_end_of_an_epoch(tmp_path: Path, name: str, killed: int) -> None:
    task: Task = Classification(BASE) if name == "labels" else Generation(WRITER)
    rows = ROWS if name == "labels" else SENTENCES
    few = Training(
        rank=4, layers=1, seed_epochs=3, max_epochs=3, batch_size=4 if name == "labels" else 2, dev_share=0.5
    )
    fields = {} if name == "labels" else {"task": "generation", "base": WRITER}
    first = made(tmp_path, "first")
    train(task, None, frozen(few, rows, **fields), texts_of(rows), lambda _: None, first)
    snapshot = frozen(few, rows, **fields, parent="v0", request_id="next")

    def go(output: str, at: Checkpoint | None) -> Trained:
        return train(task, first, snapshot, texts_of(rows), lambda _: None, made(tmp_path, output), at)

    whole = go("whole", None)
    with pytest.raises(KilledError):
        go("killed", checkpoint(tmp_path / "c.pt", left=killed))
    last = checkpoint(tmp_path / "c.pt", every_s=999)
    rest = go("rest", last)
    assert rest.resumed == killed
    assert (rest.loss_curve, rest.step_sizes, rest.rows) == (whole.loss_curve, whole.step_sizes, whole.rows)
    assert digests(tmp_path / "rest") == digests(tmp_path / "whole")
    assert last.before == SPENT, "what the killed process took is counted"
    assert SPENT.after(SPENT) == replace(SPENT, cpu_s=14.0, energy_wh=1.0)


@pytest.mark.parametrize("harm", ["torn", "altered", "foreign", "nonsense"])
def test_what_cannot_be_used_is_said_and_left_alone(tmp_path: Path, harm: str) -> None:
    path, task, snapshot = tmp_path / "c.pt", Classification(BASE), frozen(QUICK)
    with pytest.raises(KilledError):
        train(task, None, snapshot, texts_of(ROWS), lambda _: None, tmp_path, checkpoint(path, left=2))
    assert checkpoint(path).found() is not None
    written = path.read_bytes()
    if harm != "foreign":
        bad = {"torn": written[:-9], "altered": written[:99] + b"\0\1\2" + written[102:], "nonsense": b"?" * 99}[harm]
        path.write_bytes(bad)
    with structlog.testing.capture_logs() as said:
        assert checkpoint(path, mark="another base's" if harm == "foreign" else "ours").found() is None
    assert [one["event"] for one in said] == ["checkpoint_ignored"]


def test_a_short_training_writes_nothing(tmp_path: Path) -> None:
    path, output = tmp_path / "c.pt", made(tmp_path, "output")
    train(
        Classification(BASE), None, frozen(QUICK), texts_of(ROWS), lambda _: None, output, checkpoint(path, every_s=60)
    )
    assert not path.exists()


def test_of_each_training_there_is_one_file_and_none_after_an_erasure(tmp_path: Path) -> None:
    kept, snapshot, events = CheckpointFolder(tmp_path / "c", 60), frozen(QUICK), Origins.of(["f-1", "f-2"])
    path = kept.place(snapshot, events, erasures=3)
    path.write_bytes(b"weights")
    path.with_suffix(".tmp").write_bytes(b"torn")
    assert kept.place(snapshot, events, erasures=3) == path
    assert [*path.parent.iterdir()] == [path], "what a crash left unfinished goes"
    kept.expire(lambda: 3)
    kept.expire(lambda: -1)  # the database does not answer
    assert path.exists()
    kept.expire(lambda: 4)
    assert not path.exists()
    for other in (
        kept.place(snapshot, Origins.of(["f-1"]), 3),
        kept.place(snapshot, events, 4),
        kept.place(frozen(LONG), events, 3),
    ):
        assert other != path
        path.write_bytes(b"weights")
    assert kept.place(snapshot, Origins.of(["f-1"]), 3) != path
    assert not path.exists(), "another training begins"
    path.write_bytes(b"weights")
    kept.clear()
    assert [*path.parent.iterdir()] == []
    kept.expire(lambda: pytest.fail("nothing lies there, so nobody is asked"))
