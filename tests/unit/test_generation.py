"""The task `generation` on real weights: it learns to write, prefers what corrected it, and stays near the champion."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from schemas.events import ModelStateChanged
from services.evaluator.evidence import Row
from services.evaluator.scoring import Scorer
from services.predictor.serving import Serving
from services.trainer.increment import train
from services.trainer.snapshot import Lesson, Snapshot
from shared.artifacts import ArtifactStore
from shared.errors import ArtifactError
from shared.lm.generation import Generation
from shared.lm.task import CANDIDATE, Example
from shared.policy import Training
from shared.text import short_hash

BASE = "SmolLM2-135M-Instruct"
QUICK = Training(rank=8, layers=12, seed_epochs=30, max_epochs=12, batch_size=4, dev_share=0.0)
ROWS = [
    ("cancel order 12", '{"intent": "cancel", "order": "12"}'),
    ("please cancel order 7 for me", '{"intent": "cancel", "order": "7"}'),
    ("where is order 31", '{"intent": "track", "order": "31"}'),
    ("can you tell me where order 5 is", '{"intent": "track", "order": "5"}'),
]
TEXTS, TARGETS = [text for text, _ in ROWS], [target for _, target in ROWS]
NEW = ("i want my money back for order 8", '{"intent": "refund", "order": "8"}')
SAID = '{"intent": "track", "order": "8"}'


@pytest.fixture(scope="module")
def task() -> Generation:
    return Generation(BASE)


@pytest.fixture(scope="module")
def champion(task: Generation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(task, tmp_path_factory.mktemp("champion"), ROWS)


def made(
    task: Generation,
    folder: Path,
    new: Sequence[tuple[str, str]],
    replay: Sequence[tuple[str, str]] = (),
    parent: Path | None = None,
    config: Training = QUICK,
    rejected: str | None = None,
) -> Path:
    """A version's files, by the trainer's own code."""
    snapshot = Snapshot(
        request_id="r",
        model="extract",
        task="generation",
        base=BASE,
        parent="v0" if parent else None,
        parent_manifest=None,
        new=tuple(Lesson(id=short_hash(*row), target=row[1], weight=1.0, rejected=rejected) for row in new),
        replay=tuple(Lesson(id=short_hash(*row), target=row[1], weight=1.0) for row in replay),
        config=config,
    )
    train(task, parent, snapshot, {short_hash(*row): row[0] for row in (*new, *replay)}, lambda _: None, folder)
    return folder


def outputs(task: Generation, folder: Path, texts: Sequence[str]) -> list[str]:
    task.load("asked", folder)
    try:
        return [answer.output for answer in task.answer("asked", texts)]
    finally:
        task.drop("asked")


def test_a_first_version_writes_what_it_was_taught(task: Generation, champion: Path) -> None:
    assert outputs(task, champion, TEXTS) == TARGETS


def test_what_is_right_is_what_it_would_write(task: Generation, champion: Path) -> None:
    task.load("asked", champion)
    wrong = [*TARGETS[1:], TARGETS[0]]
    spelt = TARGETS[0].replace(" ", "")
    try:
        assert task.right("asked", TEXTS, TARGETS) == [True] * len(ROWS)
        assert task.right("asked", TEXTS, wrong) == [False] * len(ROWS)
        assert task.right("asked", TEXTS[:1], [spelt]) == [True], "white space in JSON is not what is taught"
    finally:
        task.drop("asked")


def test_an_increment_learns_what_is_new_and_keeps_what_it_knew(
    task: Generation, champion: Path, tmp_path: Path
) -> None:
    assert outputs(task, champion, [NEW[0]]) != [NEW[1]]
    after = made(task, tmp_path, [NEW], ROWS, champion, QUICK.model_copy(update={"max_epochs": 12}), SAID)
    assert outputs(task, after, [NEW[0], *TEXTS]) == [NEW[1], *TARGETS]


def test_it_is_served_and_judged_as_any_task(champion: Path, tmp_path: Path) -> None:
    store = ArtifactStore(f"file://{tmp_path}")
    store.put(
        "versions/v0", Path(shutil.copytree(champion, tmp_path / "files")), {"version": "v0", "new": [], "replay": []}
    )
    state = ModelStateChanged(
        event_id="s-1",
        occurred_at=datetime.now(UTC),
        source="evaluator",
        model="extract",
        alias="champion",
        task="generation",
        base=BASE,
        version="v0",
        manifest_sha256=store.digest("versions/v0") or "",
        decision="d-1",
        reason="a test decided",
    )
    serving, scorer = Serving(store), Scorer(store)
    assert serving.serve(state)
    [answer] = serving.answer("extract", TEXTS[:1], top_k=5)
    assert (answer.version, answer.output, answer.scores) == ("v0", TARGETS[0], ())
    scorer.load(state)
    rows = [Row(str(number), text, TARGETS[0], None) for number, text in enumerate(TEXTS)]
    assert scorer.right("v0", rows) == (True, False, False, False)


def margin(task: Generation, champion: Path, config: Training) -> float:
    """How much likelier the correction is than the corrected, after a few steps on that one row."""
    row = [Example(NEW[0], NEW[1], rejected=SAID)]
    with task.learning(champion, row, config) as learning:
        with learning.training() as groups:
            optimizer = torch.optim.AdamW(groups)
            for _ in range(2):
                optimizer.zero_grad()
                learning.loss([0]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        causal = task.causal
        with torch.inference_mode(), causal.active(CANDIDATE):
            both = causal.prompts([NEW[0]] * 2), causal.completions([NEW[1], SAID])
            logits, labels = causal.logits(*both)
            picked = logits[:, :-1].float().log_softmax(-1)
            said = picked.gather(-1, labels[:, 1:].clamp(min=0)[..., None]).squeeze(-1)
            one, other = (said * (labels[:, 1:] >= 0)).sum(-1).tolist()
    return float(one - other)


def test_a_correction_is_preferred_to_what_it_corrected(task: Generation, champion: Path) -> None:
    without = margin(task, champion, QUICK.model_copy(update={"preference": 0.0}))
    assert margin(task, champion, QUICK.model_copy(update={"preference": 5.0})) > without


def test_replayed_rows_cost_nothing_until_the_champion_is_left(task: Generation, champion: Path) -> None:
    rows = [Example(*row, replayed=True) for row in ROWS]
    losses = {}
    for keep in (0.0, 1.0):
        with task.learning(champion, rows, QUICK.model_copy(update={"keep": keep})) as learning, torch.inference_mode():
            still = learning.loss([0, 1]).item()
            learning.set_state({name: value + 0.05 for name, value in learning.state().items()})
            losses[keep] = still, learning.loss([0, 1]).item()
    assert losses[1.0][0] == pytest.approx(losses[0.0][0], abs=1e-3)
    assert losses[1.0][1] > losses[0.0][1] + 1e-3


def test_the_same_arguments_give_the_same_files(task: Generation, champion: Path, tmp_path: Path) -> None:
    quick = QUICK.model_copy(update={"max_epochs": 1})
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
        made(task, folder, [NEW], ROWS, champion, quick, SAID)
    one, other = ((folder / "adapter_model.safetensors").read_bytes() for folder in folders)
    assert one == other


def test_weights_that_overflow_never_answer(task: Generation, champion: Path, tmp_path: Path) -> None:
    task.causal.load("altered", champion)
    weights = {name: value * 1e30 for name, value in task.causal.weights("altered").items()}
    for file in champion.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    task.causal.save("altered", weights, tmp_path)
    task.causal.drop("altered")
    with pytest.raises(ArtifactError, match="not finite"):
        task.load("v-bad", tmp_path)
    assert not task.versions
