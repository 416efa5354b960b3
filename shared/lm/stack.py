"""A transformer's layers cut in two: those below the lowest adapter never change, so what they say is computed once.

The same model runs in either half: its list of layers is shortened while it does, so masks, positions and kernels stay
the library's own. What enters the upper half is handed in where its first layer would hear the layer below.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

LISTS = ("layer", "layers")  # what transformers calls the list: BERT and its kin, and all newer architectures


class Stack:
    """The layers of one model."""

    def __init__(self, model: nn.Module) -> None:
        """Find them: the one list that holds them all.

        Raises:
            ValueError: the architecture keeps its layers in another way.
        """
        found = [
            (owner, name, part)
            for owner in model.modules()
            for name, part in owner.named_children()
            if name in LISTS and isinstance(part, nn.ModuleList)
        ]
        if len(found) != 1:
            raise ValueError(f"{type(model).__name__} does not keep its layers in one list.")
        self._owner, self._name, self._layers = found[0]

    @classmethod
    def of(cls, model: nn.Module) -> Stack | None:
        """The layers of a model; None where its architecture keeps them in another way."""
        try:
            return cls(model)
        except ValueError:
            return None

    def __len__(self) -> int:
        """How many layers there are."""
        return len(self._layers)

    @contextmanager
    def below(self, cut: int) -> Iterator[list[Tensor]]:
        """Within the block the model ends before layer `cut`; yields a list to which each run adds what came out."""
        heard: list[Tensor] = []
        hook = self._layers[cut - 1].register_forward_hook(lambda _layer, _given, out: heard.append(_hidden(out)))
        with self._only(slice(0, cut)):
            try:
                yield heard
            finally:
                hook.remove()

    @contextmanager
    def above(self, cut: int, hidden: Tensor) -> Iterator[None]:
        """Within the block the model begins with layer `cut`, which hears `hidden` [rows, tokens, width]."""

        def hear(_layer: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
            return (hidden, *given[1:])

        hook = self._layers[cut].register_forward_pre_hook(hear)
        with self._only(slice(cut, None)):
            try:
                yield
            finally:
                hook.remove()

    @contextmanager
    def _only(self, part: slice) -> Iterator[None]:
        setattr(self._owner, self._name, self._layers[part])
        try:
            yield
        finally:
            setattr(self._owner, self._name, self._layers)


def _hidden(out: Any) -> Tensor:
    """A layer's hidden states, whether it gives them alone or with others."""
    hidden: Tensor = out[0] if isinstance(out, tuple) else out
    return hidden
