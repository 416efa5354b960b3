"""Texts as the token ids that a language model is given: a user's message in its chat template, and answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from transformers import AutoTokenizer

from shared.errors import ConfigError
from shared.lm.bases import locate
from shared.lm.loading import chats

MAX_PROMPT = 512  # tokens of an input: of a longer one the beginning is read, as the encoder does
MAX_NEW = 256  # tokens of an output: a longer one is learned up to here, and is never given whole
TEXT = "\ue000"  # stands for the user's text while the chat template is read: a private character, in no template


class Prompts:
    """The tokenizer of one base and the frame that its chat template makes around a text."""

    def __init__(self, base: str, tokenizer: Any = None) -> None:
        """Read the chat template; the tokenizer, too, where none is given.

        Raises:
            ArtifactError, ConfigError: see `shared.lm.bases.locate`; or its chat template cannot be used.
        """
        self._base = base
        self._tokenizer: Any = tokenizer or AutoTokenizer.from_pretrained(locate(base))
        self._before, self._after = self._frame()
        self.end: int = self._tokenizer.eos_token_id  # the token that ends a turn

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt."""
        return len(self._before) + MAX_PROMPT + len(self._after)

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """Each text as the user's message in the base's chat template, up to where the answer begins.

        A base without a template gets the text and a newline. A text is only text: `<|im_end|>` in it ends no turn.
        """
        return [[*self._before, *tokens[:MAX_PROMPT], *self._after] for tokens in self.tokens(texts)]

    def completions(self, texts: Sequence[str]) -> list[list[int]]:
        """Each text as the answer with the token that ends the turn, cut at `MAX_NEW` tokens (then without it)."""
        return [[*tokens, self.end][:MAX_NEW] for tokens in self.tokens(texts)]

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of plain texts."""
        if not texts:
            return []  # the tokenizer has no answer to nothing
        found = self._tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)
        return cast(list[list[int]], found["input_ids"])

    def _frame(self) -> tuple[list[int], list[int]]:
        """What comes before and after the user's text in a prompt."""
        framed = f"{TEXT}\n"
        if self._tokenizer.chat_template:
            chats()
            message = [{"role": "user", "content": TEXT}]
            framed = self._tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
        parts = framed.split(TEXT)
        if len(parts) != 2:
            raise ConfigError(
                f"The chat template of {self._base} does not hold the user's text once: take another base."
            )
        before, after = self._tokenizer(parts, add_special_tokens=False)["input_ids"]
        return before, after
