"""A frozen causal language model with any number of LoRA adapters: texts in, texts out, and how likely a text is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import takewhile
from typing import Any, cast

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, DynamicCache

from shared.lm.adapters import Adapted
from shared.lm.batches import by_length
from shared.lm.decoding import Decoding, Limit, Speech
from shared.lm.lora import Part
from shared.lm.losses import IGNORED, sequence_log_probs
from shared.lm.prompts import MAX_NEW, Prompts

BATCH = 16  # so many rows of `MAX_NEW` tokens take 2 GB: logits, widened, and their logarithms
SHORT = 128  # tokens of a row up to which attention keeps its weights: 0.9 GB for a batch of 16 in 30 layers

Tokens = Sequence[Sequence[int]]


class Causal(Adapted):
    """One language model in memory and the adapters on it, by name. Not thread-safe: one thread computes."""

    def __init__(self, base: str, device: torch.device | None = None) -> None:
        """Load the base, frozen; without a device on the CPU.

        Raises:
            ArtifactError, ConfigError: see `shared.lm.bases.locate`; or its chat template cannot be used.
        """
        super().__init__(base, AutoModelForCausalLM, device)
        self._chat = Prompts(base, self._tokenizer)
        self._end = self._chat.end

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """Each text as what the model is asked. See `Prompts.prompts`."""
        return self._chat.prompts(texts)

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Each text as it is. See `Prompts.tokens`."""
        return self._chat.tokens(texts)

    def completions(self, texts: Sequence[str]) -> list[list[int]]:
        """Each text as what the model shall say. See `Prompts.completions`."""
        return self._chat.completions(texts)

    def logits(self, prompts: Tokens, completions: Tokens) -> tuple[Tensor, Tensor]:
        """One batch under the active adapter: logits [rows, places, vocabulary] and labels [rows, places].

        They are what `losses` takes, with gradients where they are on. A row's places begin with its prompt's last
        token: the logits of those before it would be for nothing. What all prompts begin with is computed once.
        """
        shared = _shared(prompts)
        given = [[*prompt, *said][shared:-1] for prompt, said in zip(prompts, completions, strict=True)]
        wanted = [[IGNORED, *said] for said in completions]
        with torch.autocast(self.on.type, dtype=torch.bfloat16, enabled=self.bf16):
            hidden = self._run(list(prompts[0][:shared]), given)
            labels = self._padded(wanted, IGNORED)
            starts = torch.tensor([[len(prompt) - 1 - shared] for prompt in prompts], device=self.on)
            places = (starts + torch.arange(labels.shape[1], device=self.on)).clamp(max=hidden.shape[1] - 1)
            kept = hidden.gather(1, places[..., None].expand(-1, -1, self.width))
            return cast(Tensor, self._bare.get_output_embeddings()(kept)), labels

    def forced(self, prompts: Tokens, completions: Tokens, adapter: str) -> list[bool]:
        """Whether greedy decoding under an adapter would give exactly this completion of each prompt, and end there.

        It would if at each place of the completion, fed as if it had been said, the most likely token is the next one:
        so one forward pass tells, without decoding. A completion that was cut at `MAX_NEW` is never given. In bfloat16
        two tokens that are nearly as likely may change places between the two, as between batches of other shapes.
        """
        return self.judged(prompts, completions, adapter)[1]

    def judged(self, prompts: Tokens, completions: Tokens, adapter: str) -> tuple[Tensor, list[bool]]:
        """In one pass, each completion's log p under an adapter [rows], and whether it is `forced`."""
        log_probs, right = torch.empty(len(prompts), device=self.on), [False] * len(prompts)
        with torch.inference_mode(), self.active(adapter):
            for rows in by_length([[*prompt, *said] for prompt, said in zip(prompts, completions, strict=True)], BATCH):
                logits, labels = self.logits([prompts[row] for row in rows], [completions[row] for row in rows])
                log_probs[rows] = sequence_log_probs(logits, labels)
                best, target = logits[:, :-1].argmax(-1), labels[:, 1:]
                for row, same in zip(rows, ((best == target) | (target == IGNORED)).all(-1).tolist(), strict=True):
                    right[row] = same and completions[row][-1] == self._end
        return log_probs, right

    def generate(self, texts: Sequence[str], adapter: str, max_new: int = MAX_NEW) -> list[str]:
        """What an adapter answers to each text: greedily, until it ends its turn or has said `max_new` tokens."""
        prompts, answers = self.prompts(texts), [""] * len(texts)
        with torch.inference_mode(), self.active(adapter):
            for rows in by_length(prompts, BATCH):
                said = self._decode([prompts[row] for row in rows], max_new)
                for row, answer in zip(rows, self._tokenizer.batch_decode(said, skip_special_tokens=True), strict=True):
                    answers[row] = answer
        return answers

    def perplexity(self, texts: Sequence[str], adapter: str) -> float:
        """The exponential of the mean −log p(token | those before it), over the first `MAX_NEW` tokens of texts."""
        rows = [tokens[:MAX_NEW] for tokens in self._chat.tokens(texts) if len(tokens) > 1]
        log_probs, _ = self.judged([row[:1] for row in rows], [row[1:] for row in rows], adapter)
        return math.exp(-float(log_probs.sum()) / sum(len(row) - 1 for row in rows))

    def _run(self, prefix: list[int], rows: Tokens) -> Tensor:
        """The last hidden states [rows, longest, width] of rows that all follow the same prefix.

        They are padded on the right, where no token sees what follows: so no mask.
        """
        decoder = self._bare.get_decoder()
        ids = self._padded(rows, 0)
        self._attend(len(prefix) + ids.shape[1])
        if not prefix:
            return cast(Tensor, decoder(input_ids=ids, use_cache=False).last_hidden_state)
        cache = DynamicCache(config=self._bare.config)
        decoder(input_ids=torch.tensor([prefix], device=self.on), past_key_values=cache, use_cache=True)
        cache.batch_repeat_interleave(len(rows))
        return cast(Tensor, decoder(input_ids=ids, past_key_values=cache, use_cache=True).last_hidden_state)

    def _attend(self, tokens: int) -> None:
        """Choose how attention is computed: torch's fused kernel is slow backwards on a CPU, but long rows need it."""
        how = "eager" if tokens <= SHORT else "sdpa"
        if self._bare.config._attn_implementation != how:
            self._bare.set_attn_implementation(how)

    def _decode(self, prompts: Tokens, max_new: int) -> Tensor:
        """What follows the prompts, greedily: token ids [rows, tokens], padded after the turn's end."""
        width = max(map(len, prompts))
        ids = [[self._end] * (width - len(prompt)) + list(prompt) for prompt in prompts]
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        with torch.autocast(self.on.type, dtype=torch.bfloat16, enabled=self.bf16):
            said: Tensor = self._model.generate(
                input_ids=torch.tensor(ids, device=self.on),
                attention_mask=torch.tensor(mask, device=self.on),
                do_sample=False,
                max_new_tokens=max_new,
                eos_token_id=self._end,
                pad_token_id=self._end,
            )
        return said[:, width:]

    def begin(
        self, texts: Sequence[str], adapters: Sequence[str], limits: Sequence[Limit], decoding: Decoding
    ) -> list[Speech]:
        """Answers in the making, beside others on this model, each under an attached adapter of its own."""
        return decoding.join(texts, [self._carrier.adapters[name] for name in adapters], limits)

    @property
    def end(self) -> int:
        """The token that ends a turn."""
        return self._end

    @property
    def config(self) -> Any:
        """What transformers knows of the model."""
        return self._bare.config

    def carried(self, parts: Sequence[Part]) -> AbstractContextManager[None]:
        """Compute with attached adapters within the block. See `Carrier.carrying`."""
        return self._carrying(parts)

    def next_logits(self, ids: Tensor, mask: Tensor, cache: DynamicCache) -> Tensor:
        """Logits [rows, vocabulary] of what follows ids [rows, new], after what a cache holds; the mask is of both."""
        places = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        with torch.autocast(self.on.type, dtype=torch.bfloat16, enabled=self.bf16):
            hidden = self._bare.get_decoder()(
                input_ids=ids, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True
            ).last_hidden_state
            return cast(Tensor, self._bare.get_output_embeddings()(hidden[:, -1])).float()

    def text(self, tokens: Sequence[int]) -> str:
        """What tokens mean together."""
        return cast(str, self._tokenizer.decode(tokens, skip_special_tokens=True))

    def _padded(self, rows: Tokens, filler: int) -> Tensor:
        cut = [torch.tensor(row, device="cpu") for row in rows]
        return pad_sequence(cut, batch_first=True, padding_value=filler).to(self.on)

    @property
    def _bare(self) -> Any:
        """The model as transformers made it, adapters and all, without peft's shell."""
        return self._model.get_base_model() if isinstance(self._model, PeftModel) else self._model


def _shared(prompts: Tokens) -> int:
    """How many tokens all prompts begin with, less the last of the shortest: that one says what comes next."""
    alike = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*prompts, strict=False)))
    return min(alike, min(map(len, prompts)) - 1)
