"""The task `generation` on real weights: it learns to write, prefers what corrected it, and stays near the champion."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from schemas.events import ModelStateChanged
from services.evaluator.rows import Row
from services.evaluator.scoring import Scorer
from services.predictor.answers import Answer, Question
from services.predictor.serving import Serving
from services.trainer.increment import train
from services.trainer.snapshot import Lesson, Snapshot
from shared.artifacts import ArtifactStore
from shared.errors import ArtifactError
from shared.lm.generation import Generation
from shared.lm.opinions import log_probs
from shared.lm.task import CANDIDATE, Example, Judged, Opinion, Preferred
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
    [answer] = serving.answer(serving.take([Question("extract", "ann", TEXTS[0], top_k=5)]))
    assert isinstance(answer, Answer)
    assert (answer.version, answer.output, answer.scores) == ("v0", TARGETS[0], ())
    scorer.load(state)
    rows = [Row(str(number), text, TARGETS[0], None) for number, text in enumerate(TEXTS)]
    assert scorer.right("v0", rows) == (True, False, False, False)


def log_odds(task: Generation, adapter: str) -> float:
    """How much likelier the correction is than the corrected, in nats."""
    causal = task.causal
    with causal.active(adapter):
        one, other = log_probs(causal, causal.prompts([NEW[0]] * 2), causal.completions([NEW[1], SAID])).tolist()
    return float(one - other)


def nats(task: Generation, text: str, said: str) -> float:
    """What a text loses as an answer of the candidate, per token."""
    prompt, completion = task.causal.prompts([text]), task.causal.completions([said])
    return -log_probs(task.causal, prompt, completion).item() / len(completion[0])


def stepped(task: Generation, champion: Path, config: Training, examples: list[Example], *opinions: Opinion) -> float:
    """How much likelier the correction is than the corrected, after a few steps on all rows at once."""
    with task.learning(champion, examples, config, opinions) as learning:
        rows = range(len(learning.lengths))
        with learning.training() as groups:
            optimizer = torch.optim.AdamW(groups)
            for _ in range(2):
                optimizer.zero_grad()
                learning.loss(rows).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        return log_odds(task, CANDIDATE)


def margin(task: Generation, champion: Path, config: Training) -> float:
    return stepped(task, champion, config, [Example(NEW[0], NEW[1], rejected=SAID)])


def test_a_correction_is_preferred_to_what_it_corrected(task: Generation, champion: Path) -> None:
    without = margin(task, champion, QUICK.model_copy(update={"preference": 0.0}))
    assert margin(task, champion, QUICK.model_copy(update={"preference": 5.0})) > without


@pytest.mark.parametrize("flipped", [0.0, 0.2])
def test_what_users_prefer_becomes_likelier_than_the_other(task: Generation, champion: Path, flipped: float) -> None:
    config = QUICK.model_copy(update={"preference": 1.0, "flipped": flipped})
    up = stepped(task, champion, config, [], Preferred(NEW[0], NEW[1], SAID))
    down = stepped(task, champion, config, [], Preferred(NEW[0], SAID, NEW[1]))
    assert up > down + 0.1


def test_what_users_like_becomes_likelier_and_what_they_do_not_less_likely(task: Generation, champion: Path) -> None:
    config = QUICK.model_copy(update={"liking": 1.0})
    good = [Judged(NEW[0], NEW[1], True), Judged(NEW[0], SAID, False)]
    bad = [Judged(NEW[0], NEW[1], False), Judged(NEW[0], SAID, True)]
    assert stepped(task, champion, config, [], *good) > stepped(task, champion, config, [], *bad) + 0.1


def test_what_users_prefer_does_not_become_less_likely_itself(task: Generation, champion: Path) -> None:
    config = QUICK.model_copy(update={"preference": 1.0})
    with task.learning(champion, [], config, [Preferred(NEW[0], NEW[1], SAID)]) as learning:
        with task.causal.active(CANDIDATE):
            before = nats(task, *NEW)
        with learning.training() as groups:
            optimizer = torch.optim.AdamW(groups)
            for _ in range(3):
                optimizer.zero_grad()
                learning.loss([0]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        with task.causal.active(CANDIDATE):
            assert nats(task, *NEW) < before


def test_opinions_begin_where_the_champion_stands_and_rows_share_a_batch(task: Generation, champion: Path) -> None:
    config = QUICK.model_copy(update={"preference": 2.0, "liking": 3.0, "fluency": 0.0})
    opinions: list[Opinion] = [
        Preferred(NEW[0], NEW[1], SAID, 0.5),
        Judged(NEW[0], SAID, False),
        Judged(TEXTS[0], TARGETS[0], True),
    ]
    examples = [Example(*row) for row in ROWS[:2]]
    with task.learning(champion, examples, config, opinions) as learning, torch.inference_mode():
        assert len(learning.lengths) == 5
        pair, disliked, liked = (learning.loss([row]).item() for row in (2, 3, 4))
        unsaid = nats(task, *NEW)
        assert pair == pytest.approx(2.0 * 0.5 * (math.log(2) + unsaid), abs=1e-2), "the reference is the champion"
        assert (disliked, liked) == pytest.approx((3.0 / 2, 3.0 / 2), abs=1e-3)
        learned = learning.loss([0, 1]).item()
        assert learning.loss([0, 1, 2, 3, 4]).item() == pytest.approx(
            (2 * learned + pair + disliked + liked) / 5, abs=1e-2
        )


def test_a_thumb_that_is_alone_is_learned_too(task: Generation, champion: Path) -> None:
    before = stepped(task, champion, QUICK.model_copy(update={"learning_rate": 0.0}), [], Judged(NEW[0], SAID, False))
    alone = stepped(task, champion, QUICK.model_copy(update={"liking": 1.0}), [], Judged(NEW[0], SAID, False))
    assert alone > before


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


def test_plain_text_is_read_as_the_base_does_whatever_the_champion_has_become(
    task: Generation, champion: Path, tmp_path: Path
) -> None:
    files = tmp_path / "drifted"
    shutil.copytree(champion, files)
    task.causal.load("drifted", champion)
    weights = {name: value + 0.02 for name, value in task.causal.weights("drifted").items()}
    task.causal.save("drifted", weights, files)
    task.causal.drop("drifted")
    config, examples = QUICK.model_copy(update={"fluency": 2.0}), [Example(*row) for row in ROWS]
    found = {}
    for parent in (None, files):
        with task.learning(parent, examples, config) as learning, torch.inference_mode():
            [plain] = [row for row in range(len(learning.lengths)) if row >= len(ROWS)]
            found[parent] = learning.loss([plain]).item()
            together = learning.loss([0, plain]).item()
            assert together == pytest.approx((learning.loss([0]).item() + found[parent]) / 2, rel=1e-3)
    assert found[None] == pytest.approx(0, abs=1e-3)  # a fresh adapter is the base
    assert found[files] > 1e-2


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
