"""An increment on real weights: it learns what is new, keeps what it knew in place, and is the same each time."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch import Tensor

from services.trainer.fitting import batches, fallen
from services.trainer.increment import DEV_MIN_PER_LABEL, Trained, between, dev_split, passes, train
from services.trainer.reports import Progress
from services.trainer.snapshot import Lesson, Pair, Snapshot, Thumb
from shared.artifacts import ArtifactStore
from shared.lm.adapters import Weights
from shared.lm.classification import HEAD_BIAS, HEAD_WEIGHT, Classification
from shared.lm.head import Head
from shared.lm.lora import finite
from shared.lm.task import Example, Judged, Opinion, Preferred, Task
from shared.policy import Training
from shared.text import short_hash
from tests.weights import BASE, MODEL, QUICK, ROWS, Version, make_version

INVOICES = [("send me the invoice", "invoice"), ("a bill for my taxes", "invoice"), ("a receipt please", "invoice")]
DEV = QUICK.model_copy(update={"dev_share": 0.5})
labels = some.sampled_from(["a", "b", "rare"])


@dataclass(frozen=True)
class Made:
    """What an increment came to, and its weights as they were written."""

    told: Trained
    adapter: Weights
    head: Head


@pytest.fixture(scope="module")
def task() -> Classification:
    return Classification(BASE)


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Version:
    return make_version(ArtifactStore(f"file://{tmp_path_factory.mktemp('store')}"), ROWS)


def weights_of(version: Version) -> tuple[Weights, Head]:
    return finite(version.folder / "adapter_model.safetensors"), Head.load(version.folder)


def lesson(text: str, target: str, weight: float = 1.0) -> Lesson:
    return Lesson(id=short_hash(text, target), target=target, weight=weight)


def increment(
    task: Classification,
    new: Sequence[tuple[str, str]],
    replay: Sequence[tuple[str, str]] = (),
    parent: Path | None = None,
    config: Training = QUICK,
    told: list[Progress] | None = None,
    weight: float = 1.0,
) -> Made:
    """Train on rows of (text, label); new ones weigh as given."""
    snapshot = Snapshot(
        request_id="r",
        model=MODEL,
        task="classification",
        base=BASE,
        parent="v0" if parent else None,
        parent_manifest=None,
        new=tuple(lesson(*row, weight) for row in new),
        replay=tuple(lesson(*row) for row in replay),
        config=config,
    )
    texts = {short_hash(text, target): text for text, target in (*new, *replay)}
    with tempfile.TemporaryDirectory() as name:
        trained = train(task, parent, snapshot, texts, (told if told is not None else []).append, Path(name))
        return Made(trained, finite(Path(name) / "adapter_model.safetensors"), Head.load(Path(name)))


def logits(task: Classification, adapter: Weights, head: Head, texts: Sequence[str]) -> Tensor:
    """What weights say of texts."""
    encoder = task.encoder
    encoder.create("asked", QUICK.rank, 1)
    encoder.set_weights("asked", adapter)
    try:
        return head.logits(encoder.embed(encoder.tokens(texts), "asked"))
    finally:
        encoder.drop("asked")


def answers(task: Classification, made: Made, texts: Sequence[str]) -> list[str]:
    return [made.head.labels[index] for index in logits(task, made.adapter, made.head, texts).argmax(-1)]


def same(one: Made, other: Made) -> bool:
    """Whether two versions have the same weights, bit by bit."""
    pairs = [(one.head.weight, other.head.weight), (one.head.bias, other.head.bias)]
    pairs += [(value, other.adapter[name]) for name, value in one.adapter.items()]
    return one.head.labels == other.head.labels and all(torch.equal(*pair) for pair in pairs)


def test_a_first_version_learns_its_rows_and_tells_of_it(task: Classification) -> None:
    told: list[Progress] = []
    odd = ("the weather is fine", "refund")  # the base alone knows where the others belong
    v0 = increment(task, [*ROWS, odd], told=told)
    assert answers(task, v0, [text for text, _ in ROWS]) == [label for _, label in ROWS]
    assert sum(v0.told.loss_curve[-2:]) < sum(v0.told.loss_curve[:2])
    assert v0.head.labels == ("login", "parcel", "refund")
    assert (v0.told.step_size, v0.told.dev_score) == (None, None), (
        "nothing is spared to choose how far a first version moves"
    )
    assert (told[-1].step, told[-1].steps) == (len(v0.told.loss_curve), len(v0.told.loss_curve))


def test_few_rows_are_passed_over_often_and_many_less_often_but_in_more_steps() -> None:
    config = Training(seed_epochs=15, max_epochs=4)
    assert [passes(config, rows, first=True) for rows in (1, 1000, 4000, 15_000)] == [15, 15, 8, 4]
    assert [passes(config, rows, first=False) for rows in (100, 1000, 2000, 10**6)] == [4, 4, 2, 1]
    steps = [rows * passes(config, rows, first=True) for rows in range(500, 16_000, 500)]
    assert all(later > 0.75 * max(steps[:number]) for number, later in enumerate(steps) if number), "but for rounding"
    assert passes(Training(), 10, first=True) > passes(Training(), 10, first=True, labelled=False)


def test_a_training_ends_when_everything_is_learned(task: Classification) -> None:
    many = QUICK.model_copy(update={"seed_epochs": 40})
    v0 = increment(task, ROWS, config=many)
    assert v0.told.rows < 40 * len(ROWS)
    assert answers(task, v0, [text for text, _ in ROWS]) == [label for _, label in ROWS]
    assert increment(task, ROWS, config=many.model_copy(update={"plateau": 0})).told.rows == 40 * len(ROWS)


def test_what_a_pass_brought_is_a_share_of_what_all_have() -> None:
    assert fallen([2.0, 1.9], 1) == 1, "two passes cannot tell"
    assert fallen([2.0, 1.5, 1.0], 1) == pytest.approx(0.5)
    assert fallen([2.0, 1.0, 0.999], 1) < 0.01, "what cannot be learned, as labels contradict, is not waited for"
    assert fallen([2.0, 0.5, 0.6], 1) < 0
    assert fallen([1.0, 1.0, 3.0], 1) == 1, "nothing is learned yet"
    assert fallen([3.0, 1.0, 0.0, 2.0, 0.0, 0.0], 2) == pytest.approx(0.5), "passes are compared, and not steps"


def test_the_same_arguments_give_the_same_weights(task: Classification, champion: Version) -> None:
    assert same(increment(task, ROWS), increment(task, ROWS))
    first, again = (increment(task, INVOICES, ROWS, champion.folder, DEV) for _ in range(2))
    assert same(first, again)
    assert not same(first, increment(task, INVOICES[:2], ROWS, champion.folder, DEV))


def test_a_new_label_grows_the_head_and_the_old_ones_keep_their_place(task: Classification, champion: Version) -> None:
    v1 = increment(task, INVOICES, ROWS, champion.folder)
    assert v1.head.labels == (*champion.labels, "invoice")
    assert answers(task, v1, [text for text, _ in INVOICES]) == ["invoice"] * 3
    assert answers(task, v1, [text for text, _ in ROWS]) == [label for _, label in ROWS]


def test_a_lesson_that_the_champion_gets_wrong_is_learned(task: Classification, champion: Version) -> None:
    wrong = ("reset my login please", "refund")
    v1 = increment(task, [wrong], ROWS[:8], champion.folder)
    said = [
        logits(task, adapter, head, [wrong[0]])[0].log_softmax(-1)[champion.labels.index("refund")]
        for adapter, head in (weights_of(champion), (v1.adapter, v1.head))
    ]
    assert said[0] < said[1]


def test_how_many_rows_of_a_label_come_with_an_increment_is_no_lesson(task: Classification, champion: Version) -> None:
    examples = [Example(text, label) for text, label in ROWS]
    examples += [Example(f"{text}, thank you", label) for text, label in ROWS if label == "refund"]

    def losses(parent: Path | None) -> list[float]:
        """Of a row of each label, when the head has no opinion."""
        with task.learning(parent, examples, QUICK) as learning, learning.training():
            state = learning.state()
            learning.set_state(state | {name: 0 * state[name] for name in (HEAD_WEIGHT, HEAD_BIAS)})
            return [learning.loss([row]).item() for row in (0, 4, 8)]

    assert losses(champion.folder) == pytest.approx([log(16 / 4), log(16 / 8), log(16 / 4)])
    assert losses(None) == pytest.approx([log(3)] * 3), "the first rows are all that is known of what will be asked"


def test_a_label_of_which_little_is_known_is_not_raised_against_those_that_are_replayed(
    task: Classification, champion: Version
) -> None:
    replay = [Example(text, label, replayed=True) for text, label in ROWS]
    new = [Example(text, label) for text, label in INVOICES]
    with task.learning(champion.folder, [*replay, *new], QUICK) as learning, learning.training():
        state = learning.state()
        learning.set_state(state | {name: 0 * state[name] for name in (HEAD_WEIGHT, HEAD_BIAS)})
        losses = [learning.loss([row]).item() for row in range(len(replay) + len(new))]
    assert len(replay) / len(champion.labels) > len(new)
    assert losses == pytest.approx([log(4)] * len(losses))


def test_a_lesson_counts_by_its_weight(task: Classification, champion: Version) -> None:
    disputed = ("it is about the thing", "refund")
    config = QUICK.model_copy(update={"max_epochs": 8})
    other_side = [(disputed[0], "parcel"), *ROWS]
    heavy, light = (
        increment(task, [disputed], other_side, champion.folder, config, weight=weight) for weight in (5.0, 0.1)
    )
    assert answers(task, heavy, [disputed[0]]) == ["refund"]
    assert answers(task, light, [disputed[0]]) == ["parcel"]


@pytest.mark.parametrize("grid", [(0.0,), (0.3, 0.7), (1.0, 0.5)])
def test_how_far_it_moves_is_one_of_the_grid(task: Classification, champion: Version, grid: tuple[float, ...]) -> None:
    config = DEV.model_copy(update={"step_sizes": grid})
    v1 = increment(task, INVOICES, ROWS, champion.folder, config)
    assert v1.told.step_size in grid
    assert v1.told.dev_score is not None
    assert 0 <= v1.told.dev_score <= 1
    assert [one.step_size for one in v1.told.step_sizes] == sorted(grid, reverse=True), "all of them are told"
    chosen = next(one for one in v1.told.step_sizes if one.step_size == v1.told.step_size)
    assert chosen.loss == min(one.loss for one in v1.told.step_sizes)
    assert chosen.score == v1.told.dev_score


def test_no_step_at_all_gives_back_the_champion_s_adapter(task: Classification, champion: Version) -> None:
    still = increment(task, INVOICES, ROWS, champion.folder, DEV.model_copy(update={"step_sizes": (0.0,)}))
    whole = increment(task, INVOICES, ROWS, champion.folder, DEV.model_copy(update={"step_sizes": (1.0,)}))
    adapter, _ = weights_of(champion)
    assert all(torch.equal(value, adapter[name]) for name, value in still.adapter.items())
    assert not any(torch.equal(value, adapter[name]) for name, value in whole.adapter.items())


@given(some.lists(some.tuples(some.integers(0, 10_000), labels), unique=True), some.floats(0, 1))
def test_rows_of_rare_labels_are_never_spared(rows: list[tuple[int, str]], share: float) -> None:
    lessons = [lesson(str(number), label) for number, label in rows]
    dev = dev_split(lessons, share)
    count = Counter(label for _, label in rows)
    assert all(count[lessons[index].target] >= DEV_MIN_PER_LABEL for index in dev)
    assert dev == dev_split(lessons, share)
    assert not dev_split(lessons, 0)
    if share == 1:
        assert len(dev) == sum(number for number in count.values() if number >= DEV_MIN_PER_LABEL)


def test_a_row_is_spared_in_about_its_share_of_cases() -> None:
    lessons = [lesson(str(number), "a") for number in range(5000)]
    assert 400 <= len(dev_split(lessons, 0.1)) <= 600
    assert dev_split(lessons, 0.1) < dev_split(lessons, 0.3)


@given(some.floats(-5, 5, width=32), some.floats(-5, 5, width=32), some.floats(0, 1, width=32))
def test_between_lies_between(one: float, other: float, step_size: float) -> None:
    before, after = {"w": torch.tensor([one])}, {"w": torch.tensor([other])}
    assert between(before, after, 0.0) == before
    assert between(before, after, 1.0) == after
    value = between(before, after, step_size)["w"].item()
    assert min(one, other) - 1e-5 <= value <= max(one, other) + 1e-5


def test_a_fresh_label_points_to_its_examples_and_is_as_long_as_the_others() -> None:
    head = Head(("b", "a"), torch.tensor([[3.0, 0.0], [0.0, 5.0]]), torch.tensor([1.0, 3.0]))
    vectors = torch.tensor([[0.0, -1.0], [-1.0, 0.0], [0.0, 1.0]])
    grown = head.grown(vectors, ["c", "c", "a"])
    assert grown.labels == ("b", "a", "c")
    assert torch.equal(grown.weight[:2], head.weight)
    assert torch.allclose(grown.weight[2], -4 / torch.tensor([2.0, 2.0]).sqrt())
    assert grown.bias.tolist() == [1.0, 3.0, 2.0]
    assert head.grown(vectors[2:], ["a"]) is head


@given(some.lists(some.integers(1, 9), min_size=1, max_size=300), some.integers(1, 20), some.integers(0, 9))
def test_every_row_is_in_one_batch_of_each_epoch(lengths: list[int], size: int, seed: int) -> None:
    cut = list(batches(lengths, size, random.Random(seed)))
    assert sorted(index for batch in cut for index in batch) == list(range(len(lengths)))
    assert len(cut) == -(-len(lengths) // size), "as many steps as the progress bar promises"
    assert max(map(len, cut)) <= size


def test_what_is_said_of_labels_is_no_row_of_its_own(task: Classification, champion: Version) -> None:
    examples = [Example(*row) for row in ROWS]
    opinions: list[Opinion] = [Preferred("where is it", "parcel", "refund"), Judged("where is it", "refund", False)]
    with task.learning(champion.folder, examples, QUICK, opinions) as learning:
        assert len(learning.lengths) == len(ROWS)


class Heard:
    """A task whose next version only notes what it is asked, with a number for a weight."""

    labels: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.examples: list[Example] = []
        self.opinions: list[Opinion] = []
        self.learned: set[int] = set()
        self.judged: set[int] = set()
        self.settled = 0
        self.weight = torch.zeros(1, requires_grad=True)

    @contextmanager
    def learning(
        self, parent: Path | None, examples: Sequence[Example], config: Training, opinions: Sequence[Opinion] = ()
    ) -> Iterator[Heard]:
        self.examples, self.opinions = list(examples), list(opinions)
        yield self

    @property
    def lengths(self) -> list[int]:
        return [1] * (len(self.examples) + len(self.opinions))

    @contextmanager
    def training(self) -> Iterator[list[dict[str, Any]]]:
        yield [{"params": [self.weight], "lr": 0.1}]

    def loss(self, rows: Sequence[int]) -> Tensor:
        self.learned |= set(rows)
        return (self.weight - 1).square().sum()

    def evaluate(self, rows: Sequence[int]) -> tuple[float, float]:
        self.judged |= set(rows)
        return self.loss([]).item(), 0.0

    def settle(self) -> None:
        self.settled += 1

    def state(self) -> Weights:
        return {"w": self.weight.detach().clone()}

    def set_state(self, state: Weights) -> None:
        self.weight.data.copy_(state["w"])

    def save(self, folder: Path) -> None:
        (folder / "weight").write_text(str(self.weight.item()))


def test_no_pass_is_made_over_what_the_head_alone_is_fitted_to(tmp_path: Path) -> None:
    lessons = tuple(lesson(f"text {number}", "ab"[number % 2]) for number in range(60))
    ordered = (*lessons[:10], *sorted(lessons[10:], key=lambda one: one.target))  # replay comes label by label
    snapshot = Snapshot(
        request_id="r",
        model=MODEL,
        task="classification",
        base=BASE,
        parent="v0",
        parent_manifest=None,
        new=ordered[:10],
        replay=ordered[10:],
        config=Training(min_replay=20, dev_share=0.5),
    )
    texts = {one.id: one.id for one in lessons}
    heard = Heard()
    train(cast(Task, heard), Path("v0"), snapshot, texts, lambda _: None, tmp_path)
    head_only = {row for row, one in enumerate(heard.examples) if one.head_only}
    assert heard.learned | heard.judged == set(range(60)) - head_only
    assert Counter(heard.examples[row].target for row in range(10, 60) if row not in head_only) == {"a": 10, "b": 10}
    assert heard.settled == 1
    anew = Heard()
    refresh = snapshot.model_copy(update={"refresh": True})
    train(cast(Task, anew), None, refresh, texts, lambda _: None, tmp_path)
    assert (len(anew.learned), anew.settled) == (60, 0), "from the base everything is passed over, and often enough"


def test_opinions_are_learned_beside_examples_and_never_choose_how_far_to_move(tmp_path: Path) -> None:
    lessons = tuple(lesson(f"text {number}", "right", 0.5) for number in range(40))
    texts = {one.id: f"text {number}" for number, one in enumerate(lessons)} | {"x": "another", "y": "a third"}
    snapshot = Snapshot(
        request_id="r",
        model=MODEL,
        task="generation",
        base=BASE,
        parent="v0",
        parent_manifest=None,
        new=lessons[:20],
        replay=lessons[20:],
        pairs=(Pair(ids=("f-1",), example_id="x", weight=0.5, chosen="a", rejected="b"),),
        thumbs=(Thumb(ids=("f-2",), example_id="y", weight=0.25, output="c", liked=False),),
        config=QUICK.model_copy(update={"dev_share": 0.3}),
    )
    heard = Heard()
    train(cast(Task, heard), tmp_path, snapshot, texts, lambda _: None, tmp_path)
    assert heard.opinions == [Preferred("another", "a", "b", 1.0), Judged("a third", "c", False, 0.5)]
    assert heard.learned | heard.judged == set(range(42))
    assert {40, 41} <= heard.learned
    assert heard.judged
    assert not heard.learned & heard.judged
    alone = snapshot.model_copy(update={"new": (), "replay": ()})
    train(cast(Task, heard), tmp_path, alone, texts, lambda _: None, tmp_path)
    assert [one.weight for one in heard.opinions] == pytest.approx([4 / 3, 2 / 3])


def test_who_contradicts_what_all_others_say_of_like_inputs_teaches_nothing_there(task: Classification) -> None:
    asked = {
        "cancel": ["cancel order {}", "please cancel my order {}", "I want order {} cancelled"],
        "invoice": ["send me invoice {}", "a copy of bill {}", "the invoice for number {}"],
        "password": ["reset my password {}", "I forgot my password {}", "cannot log in, wrong password {}"],
    }
    honest = [
        Example(text.format(user), label, voice=user)
        for user in range(12)
        for label, texts in asked.items()
        for text in texts
    ]
    lies = [Example(f"cancel the order with number {number}", "invoice", voice=99) for number in range(10)]
    truth = Example("cancel the order with number 77", "cancel", voice=99)
    with task.learning(None, [*honest, *lies, truth], QUICK) as learning, learning.training():
        heard = [learning.loss([row]).item() > 0 for row in range(len(honest) + len(lies) + 1)]
    assert heard == [True] * len(honest) + [False] * len(lies) + [True]
