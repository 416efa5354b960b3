"""A frozen encoder with any number of LoRA adapters on its upper layers: texts in, unit vectors out.

LoRA sits on the linear maps of the top layers only. On CLINC150 three of MiniLM's six layers reach the accuracy of
all six at 1.65 times the speed (docs/log.md), because the lower half needs no backward pass.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel

from shared.lm import packing, program
from shared.lm.adapters import Adapted
from shared.lm.batches import by_length
from shared.lm.lora import Lora, holding, parts
from shared.lm.packing import Packed
from shared.lm.program import Program
from shared.lm.stack import Stack

MAX_TOKENS = 128  # MiniLM was trained on 128; longer inputs are cut, as sentence-transformers does
EMBED_BATCH = 64  # on two cores throughput is flat from 32 to 128; 64 keeps a swap's wait short
PLAIN = "eager"  # torch's fused attention takes half of a training step on the CPU: its backward pass is slow there
PACKED = 512  # tokens of a packed row: longer ones compute no faster
FULL = 96  # tokens of a row from which on it pays to give another one to the next core
HALFWAY_BYTES = 2**30  # of what is kept of all texts of one increment

Inputs = Sequence[list[int] | Tensor]  # token ids of each text, or what `Encoder.halfway` made of them


class Encoder(Adapted):
    """One encoder in memory and the adapters on it, by name. Not thread-safe: one thread computes."""

    def __init__(self, base: str, device: torch.device | None = None) -> None:
        """Load the base, frozen; without a device on the CPU.

        Raises:
            ArtifactError, ConfigError: see `shared.lm.bases.locate`.
        """
        super().__init__(base, AutoModel, device)
        self._stack = Stack.of(self._model)
        self._count = torch.get_num_threads() if self.on.type == "cpu" else 1
        self._cores = _one_each(self._count)
        self._merged: dict[str, list[Tensor]] = {}  # the weights of all linear maps under each adapter that answers
        self._program = self._traced() if self.on.type == "cpu" else None
        self.packs = self._program is not None

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, cut at `MAX_TOKENS`."""
        if not texts:
            return []  # the tokenizer has no answer to nothing
        ids: list[list[int]] = self._tokenizer(list(texts), truncation=True, max_length=MAX_TOKENS)["input_ids"]
        return ids

    @contextmanager
    def training(self, adapter: str) -> Iterator[list[nn.Parameter]]:
        """Make an adapter trainable within the block; yields its parameters."""
        with program.attending(self._model.get_base_model(), PLAIN), super().training(adapter) as parameters:
            yield parameters

    def forward(self, inputs: Inputs) -> Tensor:
        """Unit vectors [rows, width] in float32 of one batch under the active adapter: mean over tokens, normalised."""
        mask = self._mask(inputs)
        weight = mask[..., None].float()
        hidden = self._run(inputs, mask).float()
        return functional.normalize((hidden * weight).sum(1) / weight.sum(1), dim=-1)

    def embed(self, inputs: Inputs, adapter: str) -> Tensor:
        """Unit vectors [rows, width] of any number of rows, batched by length, without gradients.

        The adapter is in the weights, as it is when it answers, and not beside them, as it learns.
        """
        vectors = torch.empty(len(inputs), self.width, device=self.on)
        if not inputs:
            return vectors
        self._model.set_adapter(adapter)
        with self._plainly(), self._merging(adapter), torch.inference_mode():
            for rows in by_length(inputs, EMBED_BATCH):
                vectors[rows] = self.forward([inputs[row] for row in rows])
        return vectors

    def attach(self, adapter: str, folder: Path) -> None:
        """Let an adapter answer; see `Adapted.attach`. The program takes the weights with the adapter in them."""
        super().attach(adapter, folder)
        if self.packs:
            self._merged[adapter] = self._carrier.adapters[adapter].merged(self._carrier.linears)

    def detach(self, adapter: str) -> None:
        """Forget an adapter that answers."""
        super().detach(adapter)
        self._merged.pop(adapter, None)

    def vectors(self, tokens: Sequence[list[int]], adapters: Sequence[str]) -> Tensor:
        """Unit vectors [rows, width] of texts, each under an attached adapter of its own."""
        found = torch.empty(len(tokens), self.width, device=self.on)

        def compute(texts: list[int]) -> None:
            of_these, theirs = [tokens[text] for text in texts], [adapters[text] for text in texts]
            with torch.inference_mode():
                found[texts] = self._packed(of_these, theirs[0]) if self.packs else self._padded(of_these, theirs)

        shares = self._shares(tokens, adapters)
        deque(self._cores.map(compute, shares) if self._cores else map(compute, shares), maxlen=0)
        return found

    def _shares(self, tokens: Sequence[list[int]], adapters: Sequence[str]) -> Iterable[list[int]]:
        """Which texts share a forward: packed those of one adapter, else those of one adapter are neighbours."""
        if not self.packs:
            return (sorted(texts, key=lambda text: adapters[text]) for texts in by_length(tokens, EMBED_BATCH))
        of_one = math.ceil(sum(map(len, tokens)) / self._count)
        return packing.rows([*map(len, tokens)], adapters, min(PACKED, max(FULL, of_one)))

    def _packed(self, tokens: list[list[int]], adapter: str) -> Tensor:
        """Unit vectors [rows, width] of one packed row, under one adapter."""
        return cast(Program, self._program)(*Packed.of(tokens), *self._merged[adapter])

    def _padded(self, tokens: list[list[int]], adapters: list[str]) -> Tensor:
        """Unit vectors [rows, width] by one forward; neighbours under one adapter are computed together."""
        with self._carrying(parts([self._carrier.adapters[name] for name in adapters], [1] * len(tokens), axis=0)):
            return self.forward(tokens)

    def halfway(self, tokens: Sequence[list[int]], adapter: str) -> Inputs:
        """What enters the lowest layer that the adapter changes, [tokens, width] for each text: so far nothing learns.

        `forward` and `embed` go on from there with the same result. The token ids themselves when the adapter changes
        all layers, when the architecture cannot be cut, or when it would take more than `HALFWAY_BYTES`.
        """
        cut = self._lowest[adapter]
        if not cut or self._stack is None or 4 * self.width * sum(map(len, tokens)) > HALFWAY_BYTES:
            return tokens
        halves: list[Tensor] = [torch.empty(0, device=self.on)] * len(tokens)
        with self._plainly(), torch.inference_mode(), self._stack.below(cut) as heard:
            for rows in by_length(tokens, EMBED_BATCH):
                batch = [tokens[row] for row in rows]
                self._run(batch, self._mask(batch))
                for row, hidden in zip(rows, heard.pop(), strict=True):
                    halves[row] = hidden[: len(tokens[row])].clone()
        return halves

    def gists(self, inputs: Inputs, adapter: str) -> Tensor:
        """What rows are about [rows, width], roughly: the mean of what came halfway, which costs nothing more.

        Of token ids it is what `embed` makes of them.
        """
        if all(isinstance(one, Tensor) for one in inputs):
            halves = cast(list[Tensor], inputs)
            return torch.stack([one.mean(0) for one in halves]) if halves else torch.empty(0, device=self.on)
        return self.embed(inputs, adapter)

    @contextmanager
    def _merging(self, adapter: str) -> Iterator[None]:
        """Within the block the weights hold what a learning adapter says, so that it costs nothing more."""
        config, linears = self._model.peft_config[adapter], self._carrier.linears
        lora = Lora.of(self.weights(adapter), config.lora_alpha / config.r, linears)
        with self._carrying(()), holding([*linears.values()], lora.merged(linears)):
            yield

    def _plainly(self) -> AbstractContextManager[None]:
        """Within the block attention is plain where a forward of short texts is quicker so, too: on the CPU."""
        if self.on.type != "cpu":
            return nullcontext()
        return program.attending(self._model.get_base_model(), PLAIN)

    def _run(self, inputs: Inputs, mask: Tensor) -> Tensor:
        """The last hidden states [rows, tokens, width] of token ids, or of what came halfway."""
        with torch.autocast(self.on.type, dtype=torch.bfloat16, enabled=self.bf16):
            if isinstance(inputs[0], Tensor):
                hidden = pad_sequence(cast(list[Tensor], inputs), batch_first=True)
                with cast(Stack, self._stack).above(self._lowest[self._model.active_adapter], hidden):
                    return cast(Tensor, self._model(inputs_embeds=hidden, attention_mask=mask).last_hidden_state)
            ids = pad_sequence([torch.tensor(row, device="cpu") for row in inputs], batch_first=True).to(self.on)
            return cast(Tensor, self._model(input_ids=ids, attention_mask=mask).last_hidden_state)

    def _mask(self, inputs: Inputs) -> Tensor:
        """Which places of a padded batch are tokens [rows, longest]."""
        lengths = torch.tensor([len(row) for row in inputs], device=self.on)
        return (torch.arange(max(map(len, inputs)), device=self.on) < lengths[:, None]).long()

    def _traced(self) -> Program | None:
        texts, linears = self.tokens(program.PROBE), [*self._carrier.linears.values()]
        with torch.inference_mode():
            return program.trace(self._model, linears, self.bf16, texts, self.forward(texts))


def _one_each(cores: int) -> ThreadPoolExecutor | None:
    """A thread for each of several cores, which computes on that one alone.

    Two rows side by side, each on one core, wait for nobody; two threads that share one product wait for each other.
    """
    if cores < 2:
        return None
    return ThreadPoolExecutor(cores, thread_name_prefix="core", initializer=partial(torch.set_num_threads, 1))
