"""LoRA adapters on one frozen base model, by name: what the encoder and the causal language model have in common.

An adapter that learns is put into the model by peft; one that answers is attached beside it (`shared.lm.lora`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from shared.errors import ArtifactError
from shared.lm.bases import locate
from shared.lm.devices import called
from shared.lm.lora import CONFIG, INNER, WEIGHTS, Carrier, Lora, Part, configuration, finite
from shared.lm.precision import bf16_pays, narrow

Weights = dict[str, Tensor]


class Adapted:
    """One base model in memory and the adapters on it, by name. Not thread-safe: one thread computes."""

    def __init__(self, base: str, architecture: Any, device: torch.device | None = None, **options: Any) -> None:
        """Load the base, frozen; choose bfloat16 where it pays.

        Args:
            base: its name, see `shared.lm.bases`.
            architecture: which of its shapes to load: transformers' `AutoModel` or one of its kin.
            device: where it computes and where all tensors are that it is given or gives; None is the CPU.
            options: what else its `from_pretrained` is told.

        Raises:
            ArtifactError, ConfigError: see `shared.lm.bases.locate`.
        """
        transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        path = locate(base)
        self.base = base
        self._tokenizer: Any = AutoTokenizer.from_pretrained(path)
        model: Any = architecture.from_pretrained(path, dtype=torch.float32, **options)
        self.on = device or torch.device("cpu")
        self._model: Any = model.requires_grad_(False).eval().to(self.on)
        self.width: int = self._model.config.hidden_size
        self.depth: int = 1 + max(
            int(found[1]) for name, _ in self._model.named_modules() if (found := INNER.search(name + "."))
        )
        self._lowest: dict[str, int] = {}  # the lowest layer that each learning adapter changes
        self.bf16 = self._bf16_pays()
        if self.bf16:
            narrow(self._model)
        self._carrier = Carrier(self._model)

    @property
    def device(self) -> str:
        """What it computes on, and in which numbers."""
        return f"{called(self.on)}, {'bfloat16' if self.bf16 else 'float32'}"

    @property
    def attached(self) -> frozenset[str]:
        """The adapters that can answer."""
        return frozenset(self._carrier.adapters)

    def attach(self, adapter: str, folder: Path) -> None:
        """Let an adapter answer from the files that `save` wrote; others may compute meanwhile.

        Raises:
            ArtifactError: the files are not a LoRA adapter for this base, or hold a value that is not finite.
        """
        self._carrier.adapters[adapter] = Lora.read(folder, self._carrier.linears)

    def detach(self, adapter: str) -> None:
        """Forget an adapter that answers."""
        self._carrier.adapters.pop(adapter, None)

    def create(self, adapter: str, rank: int, layers: int) -> None:
        """Add a fresh, trainable adapter of the given rank on the top layers; it changes nothing until trained."""
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=self._targets(layers), lora_dropout=0.0)
        self._add(adapter, config)

    def load(self, adapter: str, folder: Path) -> None:
        """Add an adapter that can learn, from the files that `save` wrote.

        Raises:
            ArtifactError: the files are not a LoRA adapter for this base, or hold a value that is not finite.
        """
        weights, fields = finite(folder / WEIGHTS), configuration(folder)
        options = {name: fields[name] for name in ("r", "lora_alpha", "target_modules")}
        try:
            self._add(adapter, LoraConfig(**options))
        except Exception as error:  # peft says by KeyError, ValueError or an error of its own what does not fit
            raise ArtifactError(f"{folder.name} is no adapter for {self.base} ({type(error).__name__}).") from None
        if _shapes(weights) != _shapes(self.weights(adapter)):
            self.drop(adapter)
            raise ArtifactError(f"{folder.name} does not fit the base {self.base}: its tensors are others.")
        self.set_weights(adapter, weights)

    def save(self, adapter: str, weights: Weights, folder: Path) -> None:
        """Write weights of an adapter's shape as `adapter_model.safetensors` and `adapter_config.json`."""
        config = self._model.peft_config[adapter]
        save_file({name: value.contiguous() for name, value in weights.items()}, folder / WEIGHTS)
        fields = {
            "peft_type": "LORA",
            "r": config.r,
            "lora_alpha": config.lora_alpha,
            "target_modules": sorted(config.target_modules),
        }
        (folder / CONFIG).write_text(json.dumps(fields, indent=1), "utf-8")

    def drop(self, adapter: str) -> None:
        """Forget an adapter."""
        self._lowest.pop(adapter, None)
        if self._lowest:
            self._model.set_adapter(next(iter(self._lowest)))  # peft warns when the active one goes
            self._model.delete_adapter(adapter)
        else:
            self._model = self._model.unload()

    def weights(self, adapter: str) -> Weights:
        """A copy of an adapter's tensors, by peft's names."""
        state = get_peft_model_state_dict(self._model, adapter_name=adapter)
        return {name: value.detach().clone() for name, value in state.items()}

    def set_weights(self, adapter: str, weights: Weights) -> None:
        """Put tensors into an adapter."""
        set_peft_model_state_dict(self._model, weights, adapter_name=adapter)

    @contextmanager
    def training(self, adapter: str) -> Iterator[list[nn.Parameter]]:
        """Make an adapter trainable within the block; yields its parameters."""
        self._model.set_adapter(adapter)
        parameters = [value for name, value in self._model.named_parameters() if f".{adapter}." in name]
        for parameter in parameters:
            parameter.requires_grad_(True)
        try:
            yield parameters
        finally:
            for parameter in parameters:
                parameter.requires_grad_(False)

    @contextmanager
    def active(self, adapter: str) -> Iterator[None]:
        """Compute with an adapter within the block; afterwards the same one as before does, and the same ones learn."""
        if (lora := self._carrier.adapters.get(adapter)) is not None:
            with self._carrying([(lora, ())]):
                yield
            return
        before = self._model.active_adapter
        learning = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        self._model.set_adapter(adapter, inference_mode=True)
        try:
            yield
        finally:
            self._model.set_adapter(before, inference_mode=True)
            for parameter in learning:
                parameter.requires_grad_(True)

    @contextmanager
    def _carrying(self, parts: Sequence[Part]) -> Iterator[None]:
        """Compute with attached adapters and with none that learns. See `Carrier.carrying`."""
        if not isinstance(self._model, PeftModel):
            with self._carrier.carrying(parts):
                yield
            return
        learning = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        with self._model.disable_adapter(), self._carrier.carrying(parts):
            yield
        for parameter in self._model.parameters():  # peft lets the active one learn again
            parameter.requires_grad_(False)
        for parameter in learning:
            parameter.requires_grad_(True)

    def _add(self, adapter: str, config: LoraConfig) -> None:
        if isinstance(self._model, PeftModel):
            self._model.add_adapter(adapter, config)
        else:
            self._model = get_peft_model(self._model, config, adapter_name=adapter)
        names = [name for name, _ in self._model.named_parameters() if f".{adapter}." in name]
        self._lowest[adapter] = min((int(found[1]) for name in names if (found := INNER.search(name))), default=0)

    def _targets(self, layers: int) -> list[str]:
        """Full names of the linear maps in the top layers."""
        lowest = self.depth - layers
        model = self._model.get_base_model() if isinstance(self._model, PeftModel) else self._model
        names = [name.removesuffix(".base_layer") for name, part in model.named_modules() if type(part) is nn.Linear]
        return [
            name for name in names if (found := INNER.search(name)) and int(found[1]) >= lowest and "lora_" not in name
        ]

    def _bf16_pays(self) -> bool:
        """Whether it is faster here; a test may say."""
        return bf16_pays(self._model, self.on)


def _shapes(weights: Weights) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in weights.items()}
