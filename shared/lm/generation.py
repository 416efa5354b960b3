"""The task `generation`: a causal language model, and per version an adapter; text in, text out.

A version's folder holds `adapter_model.safetensors` and `adapter_config.json`. An increment goes on from the champion's
adapter. Three things are asked of it at once: to say what was right (SFT on the target), to prefer it to what was
corrected (DPO, with the champion as reference), and on replayed rows not to leave the champion (KL to it). What the
champion has to say for the last two is computed once, before anything has moved. What users merely preferred, liked or
did not like is learned beside it (`shared.lm.opinions`), and what keeps it fluent (`shared.lm.fluency`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from schemas.events import MAX_OUTPUT
from shared.errors import ArtifactError
from shared.grading import same_output, tidy
from shared.lm.adapters import Weights
from shared.lm.batches import by_length
from shared.lm.causal import Causal
from shared.lm.decoding import Decoding, Limit, Speech
from shared.lm.fluency import Fluency
from shared.lm.losses import Likely, dpo_loss, kept_kl, likeliest, sequence_log_probs, sft_loss
from shared.lm.opinions import SCORED, Opinions, log_probs
from shared.lm.prompts import MAX_NEW
from shared.lm.task import CANDIDATE, Answer, Asked, Example, Opinion
from shared.policy import Training

PROBE = ("warm up", "a longer text to warm up the kernels for the shapes that will come")
NOTHING = " "  # what is served where a version says nothing: an output holds at least one character


class Generation:
    """One base and the versions on it. See `shared.lm.task.Task`."""

    def __init__(self, base: str, device: torch.device | None = None) -> None:
        """Load the base; without a device on the CPU."""
        self.causal = Causal(base, device)
        self._versions: set[str] = set()

    @property
    def device(self) -> str:
        """What it computes on, and in which numbers."""
        return self.causal.device

    @property
    def versions(self) -> frozenset[str]:
        """The versions that can answer."""
        return frozenset(self._versions)

    def load(self, version: str, folder: Path) -> None:
        """Make a version ready to answer. See `Task.load`."""
        if version in self._versions:
            return
        self.causal.attach(version, folder)
        self._versions.add(version)
        if not self._warmed_up(version):
            self.drop(version)
            raise ArtifactError(f"{version}: its answers are not finite.")

    def _warmed_up(self, version: str) -> bool:
        """Whether it can say two tokens; a step changes nothing that another thread's steps look at."""
        decoding = Decoding(self.causal)
        speeches = self.causal.begin(PROBE, [version] * len(PROBE), [Limit(2)] * len(PROBE), decoding)
        while not decoding.is_over:
            decoding.step()
        return not any(speech.overflowed for speech in speeches)

    def drop(self, version: str) -> None:
        """Forget a version."""
        self._versions.discard(version)
        self.causal.detach(version)

    def answer(self, version: str, inputs: Sequence[str], top_k: int = 1) -> list[Answer]:  # noqa: ARG002  (no labels)
        """What a version says, greedily. See `Task.answer`."""
        said = self.causal.generate(inputs, version)
        return [Answer(one[:MAX_OUTPUT] or NOTHING) for one in said]

    def answer_each(self, asked: Sequence[Asked]) -> list[Answer | ArtifactError]:
        """What each version says to its input, greedily. See `Task.answer_each`."""
        found: dict[int, Answer | ArtifactError] = {}
        for version in {one.version for one in asked}:
            rows = [row for row, one in enumerate(asked) if one.version == version]
            found.update(zip(rows, self.answer(version, [asked[row].input for row in rows]), strict=True))
        return [found[row] for row in range(len(asked))]

    def decoding(self) -> Decoding:
        """Answers in the making, none yet. See `Talking.decoding`."""
        return Decoding(self.causal)

    def begin(self, asked: Sequence[Asked], decoding: Decoding) -> list[Speech]:
        """More of them. See `Talking.begin`."""
        limits = [Limit(min(one.max_tokens or MAX_NEW, MAX_NEW), one.stops) for one in asked]
        return self.causal.begin([one.input for one in asked], [one.version for one in asked], limits, decoding)

    def right(self, version: str, inputs: Sequence[str], targets: Sequence[str]) -> list[bool]:
        """Whether a version would say exactly each target, spelt as it is taught: see `shared.grading.tidy`.

        Greedy decoding says a text if, at each place of it, its next token is the likeliest; so one forward pass tells.
        """
        return self.causal.forced(*_tokens(self.causal, inputs, targets), version)

    @contextmanager
    def learning(
        self, parent: Path | None, examples: Sequence[Example], config: Training, opinions: Sequence[Opinion] = ()
    ) -> Iterator[GenerationLearning]:
        """The next version. See `Task.learning`."""
        if parent is None:
            self.causal.create(CANDIDATE, config.rank, config.layers or self.causal.depth)
        else:
            self.causal.load(CANDIDATE, parent)
        try:
            yield GenerationLearning(self.causal, examples, config, opinions)
        finally:
            self.causal.drop(CANDIDATE)


class GenerationLearning:
    """An adapter in training. See `shared.lm.task.Learning`."""

    labels: tuple[str, ...] = ()

    def __init__(
        self, causal: Causal, examples: Sequence[Example], config: Training, opinions: Sequence[Opinion] = ()
    ) -> None:
        """Prepare all rows: tokens, and what the champion says of corrected and of replayed ones, and of opinions."""
        self._causal, self._config = causal, config
        inputs = [one.input for one in examples]
        self._prompts, self._completions = _tokens(causal, inputs, [one.target for one in examples])
        self._weights = torch.tensor([one.weight for one in examples], device=causal.on)
        corrected = [row for row, one in enumerate(examples) if _corrected(one)] if config.preference else []
        said = causal.completions([tidy(examples[row].rejected or "") for row in corrected])
        self._rejected = dict(zip(corrected, said, strict=True))
        replayed = [row for row, one in enumerate(examples) if one.replayed] if config.keep else []
        self._fluency = Fluency(causal, inputs, config.fluency)
        with causal.active(CANDIDATE):  # it is the champion still
            self._champion = self._margins(corrected)
            self._likely = self._likeliest(replayed)
            self._opinions = Opinions(causal, opinions, config)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row: of examples, opinions, and plain texts."""
        own = [len(prompt) + len(said) for prompt, said in zip(self._prompts, self._completions, strict=True)]
        return own + self._opinions.lengths + self._fluency.lengths

    @contextmanager
    def training(self) -> Iterator[list[dict[str, Any]]]:
        """The adapter."""
        with self._causal.training(CANDIDATE) as parameters:
            yield [{"params": parameters, "lr": self._config.learning_rate}]

    def loss(self, rows: Sequence[int]) -> Tensor:
        """What the examples among the rows lose, what the opinions do, and the plain texts."""
        first = len(self._prompts)
        plain = first + len(self._opinions.lengths)
        examples = [row for row in rows if row < first]
        opinions = [row - first for row in rows if first <= row < plain]
        texts = [row - plain for row in rows if row >= plain]
        loss = self._weights.new_zeros(())
        if examples:
            loss = loss + self._of_examples(examples) * len(examples)
        if opinions:
            loss = loss + self._opinions.loss(opinions)
        if texts:
            loss = loss + self._fluency.loss(texts)
        return loss / len(rows)

    def _of_examples(self, rows: Sequence[int]) -> Tensor:
        """SFT of all rows, DPO of the corrected ones, and the distance from the champion of the replayed ones."""
        logits, labels = self._logits(rows)
        loss = sft_loss(logits, labels, self._weights[list(rows)])
        if corrected := [place for place, row in enumerate(rows) if row in self._rejected]:
            chosen = sequence_log_probs(logits[corrected], labels[corrected])
            share = len(corrected) / len(rows)
            loss = loss + self._config.preference * share * self._preference([rows[one] for one in corrected], chosen)
        if replayed := [place for place, row in enumerate(rows) if row in self._likely]:
            champion = [self._likely[rows[place]] for place in replayed]
            share = len(replayed) / len(rows)
            loss = loss + self._config.keep * share * kept_kl(logits[replayed], labels[replayed], champion)
        return loss

    def evaluate(self, rows: Sequence[int]) -> tuple[float, float]:
        """Weighted loss in nats per token, each row by its own mean, and weighted share that would be said exactly."""
        prompts, completions = ([kind[row] for row in rows] for kind in (self._prompts, self._completions))
        share = self._weights[list(rows)] / self._weights[list(rows)].sum()
        log_probs, right = self._causal.judged(prompts, completions, CANDIDATE)
        means = log_probs / log_probs.new_tensor([*map(len, completions)])
        return -(means * share).sum().item(), min(1.0, (share.new_tensor(right) * share).sum().item())

    def settle(self) -> None:
        """Nothing: an adapter alone learns, and it learns in passes."""

    def state(self) -> Weights:
        """The adapter's tensors by peft's names."""
        return self._causal.weights(CANDIDATE)

    def set_state(self, state: Weights) -> None:
        """Put such tensors back."""
        self._causal.set_weights(CANDIDATE, state)

    def save(self, folder: Path) -> None:
        """Write the adapter."""
        self._causal.save(CANDIDATE, self.state(), folder)

    def _logits(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        return self._causal.logits([self._prompts[row] for row in rows], [self._completions[row] for row in rows])

    def _preference(self, rows: Sequence[int], chosen: Tensor) -> Tensor:
        """DPO of corrected rows; `chosen` are the log-probabilities of their targets."""
        prompts, rejected = [self._prompts[row] for row in rows], [self._rejected[row] for row in rows]
        other = sequence_log_probs(*self._causal.logits(prompts, rejected))
        champion = torch.stack([self._champion[row] for row in rows])
        weights = self._weights[list(rows)]
        return dpo_loss(chosen - champion[:, 0], other - champion[:, 1], beta=self._config.beta, weights=weights)

    def _margins(self, rows: Sequence[int]) -> dict[int, Tensor]:
        """The champion's log-probabilities of the target and of what was corrected, [2] for each row."""
        prompts = [self._prompts[row] for row in rows]
        right = log_probs(self._causal, prompts, [self._completions[row] for row in rows])
        wrong = log_probs(self._causal, prompts, [self._rejected[row] for row in rows])
        return dict(zip(rows, torch.stack([right, wrong], -1), strict=True))

    def _likeliest(self, rows: Sequence[int]) -> dict[int, Likely]:
        """What the champion would say at each place of the targets."""
        found: dict[int, Likely] = {}
        with torch.inference_mode():
            for batch in by_length([self._completions[row] for row in rows], SCORED):
                some = [rows[index] for index in batch]
                found.update(zip(some, likeliest(*self._logits(some)), strict=True))
        return found


def _tokens(causal: Causal, inputs: Sequence[str], targets: Sequence[str]) -> tuple[list[list[int]], list[list[int]]]:
    return causal.prompts(inputs), causal.completions([tidy(target) for target in targets])


def _corrected(example: Example) -> bool:
    """Whether the champion's output is known, and another one."""
    return example.rejected is not None and not same_output(example.rejected, example.target)
