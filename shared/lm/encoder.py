"""A frozen encoder with any number of LoRA adapters on its upper layers: texts in, unit vectors out.

LoRA sits on the linear maps of the top layers only. On CLINC150 three of MiniLM's six layers reach the accuracy of
all six at 1.65 times the speed (docs/log.md), because the lower half needs no backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel

from shared.lm import packing
from shared.lm.adapters import Adapted
from shared.lm.batches import by_length
from shared.lm.packing import Packed
from shared.lm.stack import Stack

MAX_TOKENS = 128  # MiniLM was trained on 128; longer inputs are cut, as sentence-transformers does
EMBED_BATCH = 64  # on two cores throughput is flat from 32 to 128; 64 keeps a swap's wait short
LEARNING = "eager"  # torch's fused attention takes half of a training step on the CPU: its backward pass is slow there
PACKED = 256  # tokens of a packed row: the linear maps are full, and attention, which sees all, is still little
ALIKE = 0.02  # how far two unit vectors of one text may be apart in bfloat16: 0.002 to 0.005 were seen
PROBE = ("when is my flight", "no", "could you tell me how much money there is on my savings account")
HALFWAY_BYTES = 2**30  # of what is kept of all texts of one increment

Inputs = Sequence[list[int] | Tensor]  # token ids of each text, or what `Encoder.halfway` made of them


class Encoder(Adapted):
    """One encoder in memory and the adapters on it, by name. Not thread-safe: one thread computes."""

    def __init__(self, base: str) -> None:
        """Load the base, frozen.

        Raises:
            ArtifactError, ConfigError: see `shared.lm.bases.locate`.
        """
        super().__init__(base, AutoModel)
        self._stack = _stack(self._model)
        self.packs = self._stays_the_same_when_packed()

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, cut at `MAX_TOKENS`."""
        if not texts:
            return []  # the tokenizer has no answer to nothing
        ids: list[list[int]] = self._tokenizer(list(texts), truncation=True, max_length=MAX_TOKENS)["input_ids"]
        return ids

    @contextmanager
    def training(self, adapter: str) -> Iterator[list[nn.Parameter]]:
        """Make an adapter trainable within the block; yields its parameters."""
        model = self._model.get_base_model()
        answering = model.config._attn_implementation
        model.set_attn_implementation(LEARNING)
        try:
            with super().training(adapter) as parameters:
                yield parameters
        finally:
            model.set_attn_implementation(answering)

    def forward(self, inputs: Inputs) -> Tensor:
        """Unit vectors [rows, width] in float32 of one batch under the active adapter: mean over tokens, normalised."""
        mask = _mask(inputs)
        weight = mask[..., None].float()
        hidden = self._run(inputs, mask).float()
        return functional.normalize((hidden * weight).sum(1) / weight.sum(1), dim=-1)

    def embed(self, inputs: Inputs, adapter: str) -> Tensor:
        """Unit vectors [rows, width] of any number of rows, batched by length, without gradients."""
        vectors = torch.empty(len(inputs), self.width)
        if inputs:
            self._model.set_adapter(adapter)
        with torch.inference_mode():
            for rows in by_length(inputs, EMBED_BATCH):
                vectors[rows] = self.forward([inputs[row] for row in rows])
        return vectors

    def vectors(self, tokens: Sequence[list[int]], adapters: Sequence[str]) -> Tensor:
        """Unit vectors [rows, width] of texts, each under an attached adapter of its own; they share forwards."""
        found = torch.empty(len(tokens), self.width)
        with torch.inference_mode():
            for texts in self._shared(tokens, adapters):
                sizes = [len(tokens[text]) if self.packs else 1 for text in texts]
                with self._carrying([adapters[text] for text in texts], sizes, axis=int(self.packs)):
                    run = self._packed if self.packs else self.forward
                    found[texts] = run([tokens[text] for text in texts])
        return found

    def _shared(self, tokens: Sequence[list[int]], adapters: Sequence[str]) -> Iterator[list[int]]:
        """Which texts share a forward; those of one adapter are neighbours."""
        if self.packs:
            order = sorted(range(len(tokens)), key=lambda text: adapters[text])
            yield from packing.rows([*map(len, tokens)], order, PACKED)
            return
        for texts in by_length(tokens, EMBED_BATCH):
            yield sorted(texts, key=lambda text: adapters[text])

    def halfway(self, tokens: Sequence[list[int]], adapter: str) -> Inputs:
        """What enters the lowest layer that the adapter changes, [tokens, width] for each text: so far nothing learns.

        `forward` and `embed` go on from there with the same result. The token ids themselves when the adapter changes
        all layers, when the architecture cannot be cut, or when it would take more than `HALFWAY_BYTES`.
        """
        cut = self._lowest[adapter]
        if not cut or self._stack is None or 4 * self.width * sum(map(len, tokens)) > HALFWAY_BYTES:
            return tokens
        halves: list[Tensor] = [torch.empty(0)] * len(tokens)
        with torch.inference_mode(), self._stack.below(cut) as heard:
            for rows in by_length(tokens, EMBED_BATCH):
                batch = [tokens[row] for row in rows]
                self._run(batch, _mask(batch))
                for row, hidden in zip(rows, heard.pop(), strict=True):
                    halves[row] = hidden[: len(tokens[row])].clone()
        return halves

    def gists(self, inputs: Inputs, adapter: str) -> Tensor:
        """What rows are about [rows, width], roughly: the mean of what came halfway, which costs nothing more.

        Of token ids it is what `embed` makes of them.
        """
        if all(isinstance(one, Tensor) for one in inputs):
            return torch.stack([one.mean(0) for one in cast(list[Tensor], inputs)]) if inputs else torch.empty(0)
        return self.embed(inputs, adapter)

    def _packed(self, texts: Sequence[list[int]]) -> Tensor:
        """Unit vectors [texts, width] of one packed row."""
        packed = Packed.of(texts)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bf16):
            out = self._model(input_ids=packed.ids, attention_mask=packed.mask, position_ids=packed.places)
        return packed.means(out.last_hidden_state)

    def _stays_the_same_when_packed(self) -> bool:
        """Whether this architecture takes places and a mask from outside, and counts places from zero."""
        texts = self.tokens(PROBE)
        try:
            with torch.inference_mode():
                return bool((self._packed(texts) - self.forward(texts)).norm(dim=-1).max() < ALIKE)
        except (TypeError, ValueError, RuntimeError, IndexError):  # it has no such argument, or no such place
            return False

    def _run(self, inputs: Inputs, mask: Tensor) -> Tensor:
        """The last hidden states [rows, tokens, width] of token ids, or of what came halfway."""
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bf16):
            if isinstance(inputs[0], Tensor):
                hidden = pad_sequence(cast(list[Tensor], inputs), batch_first=True)
                with cast(Stack, self._stack).above(self._lowest[self._model.active_adapter], hidden):
                    return cast(Tensor, self._model(inputs_embeds=hidden, attention_mask=mask).last_hidden_state)
            ids = pad_sequence([torch.tensor(row) for row in inputs], batch_first=True)
            return cast(Tensor, self._model(input_ids=ids, attention_mask=mask).last_hidden_state)


def _stack(model: nn.Module) -> Stack | None:
    try:
        return Stack(model)
    except ValueError:
        return None


def _mask(inputs: Inputs) -> Tensor:
    """Which places of a padded batch are tokens [rows, longest]."""
    lengths = torch.tensor([len(row) for row in inputs])
    return (torch.arange(int(lengths.max())) < lengths[:, None]).long()
