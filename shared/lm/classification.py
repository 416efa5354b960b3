"""The task `classification`: an encoder, and per version an adapter and a linear head over the version's own labels.

A version's folder holds `adapter_model.safetensors`, `adapter_config.json`, `head.safetensors` and `labels.json`.
An increment goes on from the champion's adapter and head. New labels grow the head: a new row starts as the mean of
its examples, at the length of the rows that are there.

What an increment is given is no sample of what will be asked: new rows come as they come, a hundred of a new label
beside ten replayed ones of an old one. So that this teaches nothing of how often a label is right, its loss sees each
logit raised by the log of how many rows the label has there, and its answers do without (balanced softmax: Ren et al.
2020, arXiv:2007.10740). A label with fewer rows than replay gives each counts as one with as many: raised against the
labels that are known well, it would take of what they know (docs/log.md).

After the passes the head alone is fitted at once to all rows the increment was given, and to more replayed ones than
passes were made over: one forward of a row costs a third of a pass over it, and the head is what forgets first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from schemas.events import LabelScore
from shared.errors import ArtifactError
from shared.lm.adapters import Weights
from shared.lm.agreement import doubted
from shared.lm.devices import on_one_core
from shared.lm.encoder import Encoder, Inputs
from shared.lm.head import Head
from shared.lm.task import CANDIDATE, Answer, Asked, Example, Opinion
from shared.policy import Training

PROBE = ("warm up", "a longer text to warm up the kernels for the shapes that will come")
LAYERS = 3  # three of MiniLM's six reach the accuracy of all six at 1.65 times the speed (docs/log.md)
FIRST_LOOKS = 20  # examples whose mean a fresh label's row starts from; all of them took a fifth of a pass
HEAD_WEIGHT, HEAD_BIAS = "head.weight", "head.bias"  # their names in a state, beside the adapter's tensors


class Classification:
    """One base and the versions on it. See `shared.lm.task.Task`."""

    def __init__(self, base: str, device: torch.device | None = None) -> None:
        """Load the base; without a device on the CPU."""
        self.encoder = Encoder(base, device)
        self._heads: dict[str, Head] = {}

    @property
    def device(self) -> str:
        """What it computes on, and in which numbers."""
        return self.encoder.device

    @property
    def versions(self) -> frozenset[str]:
        """The versions that can answer."""
        return frozenset(self._heads)

    def load(self, version: str, folder: Path) -> None:
        """Make a version ready to answer. See `Task.load`."""
        if version in self._heads:
            return
        with on_one_core():  # others compute meanwhile: what takes all cores takes theirs, and waits for them
            head = Head.load(folder)
            if head.weight.shape[1] != self.encoder.width:
                raise ArtifactError(f"{version}: its head does not fit the base {self.encoder.base}.")
            self.encoder.attach(version, folder)
            self._heads[version] = head.to(self.encoder.on)
            try:
                self.answer(version, PROBE)
            except ArtifactError:
                self.drop(version)
                raise

    def drop(self, version: str) -> None:
        """Forget a version."""
        self._heads.pop(version, None)
        self.encoder.detach(version)

    def answer(self, version: str, inputs: Sequence[str], top_k: int = 1) -> list[Answer]:
        """The `top_k` labels of each input with their probabilities. See `Task.answer`."""
        answers = []
        for answer in self.answer_each([Asked(version, one, top_k) for one in inputs]):
            if isinstance(answer, ArtifactError):
                raise answer
            answers.append(answer)
        return answers

    def answer_each(self, asked: Sequence[Asked]) -> list[Answer | ArtifactError]:
        """The labels of inputs of several versions. See `Task.answer_each`."""
        versions = [one.version for one in asked]
        vectors = self.encoder.vectors(self.encoder.tokens([one.input for one in asked]), versions)
        found: dict[int, Answer | ArtifactError] = {}
        with on_one_core():
            for version in dict.fromkeys(versions):
                rows = [row for row, one in enumerate(versions) if one == version]
                wanted = [asked[row].top_k for row in rows]
                found.update(zip(rows, _told(version, self._heads[version], vectors[rows], wanted), strict=True))
        return [found[row] for row in range(len(asked))]

    def right(self, version: str, inputs: Sequence[str], targets: Sequence[str]) -> list[bool]:
        """Whether a version gives each target; a label that it does not know is one that it does not give."""
        answers = self.answer(version, inputs)
        return [answer.output == target for answer, target in zip(answers, targets, strict=True)]

    @contextmanager
    def learning(
        self,
        parent: Path | None,
        examples: Sequence[Example],
        config: Training,
        opinions: Sequence[Opinion] = (),  # noqa: ARG002  (what is said of a label is a vote, and in the examples)
    ) -> Iterator[ClassifierLearning]:
        """The next version. See `Task.learning`."""
        if parent is None:
            self.encoder.create(CANDIDATE, config.rank, config.layers or LAYERS)
        else:
            self.encoder.load(CANDIDATE, parent)
        try:
            yield ClassifierLearning(self.encoder, Head.load(parent) if parent else None, examples, config)
        finally:
            self.encoder.drop(CANDIDATE)


class ClassifierLearning:
    """An adapter and a head in training. See `shared.lm.task.Learning`."""

    def __init__(self, encoder: Encoder, head: Head | None, examples: Sequence[Example], config: Training) -> None:
        """Prepare all rows: tokens, what the frozen layers make of them, and the head with a row for every target."""
        self._encoder, self._config = encoder, config
        self._inputs = encoder.halfway(encoder.tokens([one.input for one in examples]), CANDIDATE)
        known = head is not None
        head = _grown(encoder, (head or Head.empty(encoder.width)).to(encoder.on), examples, self._inputs)
        self.labels = head.labels
        self._weight, self._bias = nn.Parameter(head.weight.clone()), nn.Parameter(head.bias.clone())
        number = {label: index for index, label in enumerate(head.labels)}
        self._targets = torch.tensor([number[one.target] for one in examples], device=encoder.on)
        self._weights = torch.tensor([one.weight for one in examples], device=encoder.on)
        self._replayed = torch.tensor([one.replayed for one in examples], dtype=torch.bool, device=encoder.on)
        new = (~self._replayed).nonzero().flatten().tolist()
        gists = encoder.gists(self._inputs, CANDIDATE)
        self._weights[doubted(gists, self._targets, [one.voice for one in examples], new)] = 0.0
        passed = torch.tensor([not one.head_only for one in examples], dtype=torch.bool, device=encoder.on)
        self._raised = self._count(passed).log() if known else self._weights.new_zeros(len(self.labels))

    def _count(self, rows: Tensor) -> Tensor:
        """How many of some rows each label has, by their weights; at least what replay gives a label."""
        count = self._weights.new_zeros(len(self.labels)).index_add(0, self._targets[rows], self._weights[rows])
        replayed = self._replayed & rows
        labels = set(self._targets[replayed].tolist())
        return count.clamp(min=max(1.0, float(self._weights[replayed].sum()) / max(1, len(labels))))

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return list(map(len, self._inputs))

    @contextmanager
    def training(self) -> Iterator[list[dict[str, Any]]]:
        """The adapter and the head, each with a rate of its own."""
        with self._encoder.training(CANDIDATE) as parameters:
            yield [
                {"params": parameters, "lr": self._config.learning_rate},
                {"params": [self._weight, self._bias], "lr": self._config.head_learning_rate},
            ]

    def loss(self, rows: Sequence[int]) -> Tensor:
        """Cross entropy, each row by its weight; not smoothed, which cost few rows two points (docs/log.md)."""
        vectors = self._encoder.forward([self._inputs[row] for row in rows])
        targets, weights = self._targets[list(rows)], self._weights[list(rows)]
        logits = vectors @ self._weight.T + self._bias + self._raised
        losses = functional.cross_entropy(logits, targets, reduction="none")
        return (losses * weights).mean()

    def evaluate(self, rows: Sequence[int]) -> tuple[float, float]:
        """Weighted cross entropy, as in training, and weighted accuracy of the answers."""
        with torch.inference_mode():
            logits = self._head.logits(self._encoder.embed([self._inputs[row] for row in rows], CANDIDATE))
            targets, weights = self._targets[list(rows)], self._weights[list(rows)]
            share = weights / weights.sum()
            losses = functional.cross_entropy(logits + self._raised, targets, reduction="none")
            right = (logits.argmax(-1) == targets).float()
            return (losses * share).sum().item(), min(1.0, (right * share).sum().item())

    def settle(self) -> None:
        """Fit the head to all examples as the adapter sees them now, the labels in equal shares.

        A label with fewer rows than replay gives each has a smaller share, as in training.
        """
        every = torch.ones_like(self._replayed)
        shares = self._weights / self._count(every)[self._targets]
        vectors = self._encoder.embed(self._inputs, CANDIDATE)
        self._set_head(self._head.fitted(vectors, self._targets, shares * len(shares) / shares.sum()))

    def state(self) -> Weights:
        """The adapter's tensors by peft's names, and the head's."""
        head = {HEAD_WEIGHT: self._weight.detach().clone(), HEAD_BIAS: self._bias.detach().clone()}
        return self._encoder.weights(CANDIDATE) | head

    def set_state(self, state: Weights) -> None:
        """Put such tensors back."""
        adapter = {name: value for name, value in state.items() if name not in {HEAD_WEIGHT, HEAD_BIAS}}
        self._encoder.set_weights(CANDIDATE, adapter)
        self._set_head(Head(self.labels, state[HEAD_WEIGHT], state[HEAD_BIAS]))

    def save(self, folder: Path) -> None:
        """Write adapter and head."""
        self._encoder.save(CANDIDATE, self._encoder.weights(CANDIDATE), folder)
        self._head.save(folder)

    def _set_head(self, head: Head) -> None:
        with torch.no_grad():
            self._weight.copy_(head.weight)
            self._bias.copy_(head.bias)

    @property
    def _head(self) -> Head:
        return Head(self.labels, self._weight.detach(), self._bias.detach())


def _grown(encoder: Encoder, head: Head, examples: Sequence[Example], inputs: Inputs) -> Head:
    """The head with a row for every target, from the first examples of each."""
    seen: Counter[str] = Counter()
    unknown = []
    for index, one in enumerate(examples):
        seen[one.target] += 1
        if one.target not in head.labels and seen[one.target] <= FIRST_LOOKS:
            unknown.append(index)
    vectors = encoder.embed([inputs[index] for index in unknown], CANDIDATE)
    return head.grown(vectors, [examples[index].target for index in unknown])


def _told(version: str, head: Head, vectors: Tensor, wanted: Sequence[int]) -> Iterator[Answer | ArtifactError]:
    """One head's answers to vectors [rows, width], each with so many labels."""
    with torch.inference_mode():
        top = head.logits(vectors).softmax(-1).topk(min(max(wanted), len(head.labels)))
        sound = torch.isfinite(top.values).all(-1)  # NaN would pass the min() below as a belief of 1
    for scores, places, few, good in zip(
        top.values.tolist(), top.indices.tolist(), wanted, sound.tolist(), strict=True
    ):
        if good:
            yield _answer(head, scores[:few], places[:few])
        else:
            yield ArtifactError(f"{version}: its answers are not finite.")


def _answer(head: Head, scores: Sequence[float], indices: Sequence[int]) -> Answer:
    ranked = tuple(
        LabelScore(label=head.labels[index], score=min(1.0, score))
        for score, index in zip(scores, indices, strict=True)
    )
    return Answer(ranked[0].label, ranked)
