"""LoRA adapters on one frozen base model, by name: what the encoder and the causal language model have in common."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from shared.errors import ArtifactError
from shared.lm.bases import locate

PROBE_ROWS = 256  # tokens through one linear map: all of the model would take 0.6 s of a restart
PROBES = 5  # the best of so many: the first pays for warm-up, others may have lost the core to a neighbour
_LAYER = re.compile(r"\blayers?\.(\d+)\.")
_CONFIG_KEYS = {"peft_type", "r", "lora_alpha", "target_modules"}

Weights = dict[str, Tensor]


class Adapted:
    """One base model in memory and the adapters on it, by name. Not thread-safe: one thread computes."""

    def __init__(self, base: str, architecture: Any, **options: Any) -> None:
        """Load the base, frozen; choose bfloat16 where a probe shows that it pays.

        Args:
            base: its name, see `shared.lm.bases`.
            architecture: which of its shapes to load: transformers' `AutoModel` or one of its kin.
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
        self._model: Any = model.requires_grad_(False).eval()
        self.width: int = self._model.config.hidden_size
        self.depth: int = 1 + max(
            int(found[1]) for name, _ in self._model.named_modules() if (found := _LAYER.search(name + "."))
        )
        self._lowest: dict[str, int] = {}  # the lowest layer that each adapter changes
        self.bf16 = self._bf16_pays()

    @property
    def device(self) -> str:
        """What it computes on, and in which numbers."""
        return f"cpu, {torch.get_num_threads()} threads, {'bfloat16' if self.bf16 else 'float32'}"

    def create(self, adapter: str, rank: int, layers: int) -> None:
        """Add a fresh, trainable adapter of the given rank on the top layers; it changes nothing until trained."""
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=self._targets(layers), lora_dropout=0.0)
        self._add(adapter, config)

    def load(self, adapter: str, folder: Path) -> None:
        """Add an adapter from the files that `save` wrote.

        Raises:
            ArtifactError: the files are not a LoRA adapter for this base, or hold a value that is not finite.
        """
        weights = finite(folder / "adapter_model.safetensors")
        try:
            self._add(adapter, _lora(folder / "adapter_config.json"))
        except Exception as error:  # peft says by KeyError, ValueError or an error of its own what does not fit
            raise ArtifactError(f"{folder.name} is no adapter for {self.base} ({type(error).__name__}).") from None
        if _shapes(weights) != _shapes(self.weights(adapter)):
            self.drop(adapter)
            raise ArtifactError(f"{folder.name} does not fit the base {self.base}: its tensors are others.")
        self.set_weights(adapter, weights)

    def save(self, adapter: str, weights: Weights, folder: Path) -> None:
        """Write weights of an adapter's shape as `adapter_model.safetensors` and `adapter_config.json`."""
        config = self._model.peft_config[adapter]
        save_file({name: value.contiguous() for name, value in weights.items()}, folder / "adapter_model.safetensors")
        fields = {
            "peft_type": "LORA",
            "r": config.r,
            "lora_alpha": config.lora_alpha,
            "target_modules": sorted(config.target_modules),
        }
        (folder / "adapter_config.json").write_text(json.dumps(fields, indent=1), "utf-8")

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
        before = self._model.active_adapter
        learning = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        self._model.set_adapter(adapter, inference_mode=True)
        try:
            yield
        finally:
            self._model.set_adapter(before, inference_mode=True)
            for parameter in learning:
                parameter.requires_grad_(True)

    def _add(self, adapter: str, config: LoraConfig) -> None:
        if isinstance(self._model, PeftModel):
            self._model.add_adapter(adapter, config)
        else:
            self._model = get_peft_model(self._model, config, adapter_name=adapter)
        names = [name for name, _ in self._model.named_parameters() if f".{adapter}." in name]
        self._lowest[adapter] = min((int(found[1]) for name in names if (found := _LAYER.search(name))), default=0)

    def _targets(self, layers: int) -> list[str]:
        """Full names of the linear maps in the top layers."""
        lowest = self.depth - layers
        model = self._model.get_base_model() if isinstance(self._model, PeftModel) else self._model
        names = [name.removesuffix(".base_layer") for name, part in model.named_modules() if type(part) is nn.Linear]
        return [
            name for name in names if (found := _LAYER.search(name)) and int(found[1]) >= lowest and "lora_" not in name
        ]

    def _bf16_pays(self) -> bool:
        """Whether bfloat16 is faster here: without avx512_bf16 or AMX it is slower than float32 (pytorch#86550)."""
        inner = (one for name, one in self._model.named_modules() if type(one) is nn.Linear and _LAYER.search(name))
        linear = max(inner, key=lambda one: one.weight.numel())
        rows = torch.ones(PROBE_ROWS, linear.in_features)
        seconds = {False: float("inf"), True: float("inf")}
        for bf16 in (False, True) * PROBES:
            start = time.perf_counter()
            with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                linear(rows)
            seconds[bf16] = min(seconds[bf16], time.perf_counter() - start)
        return seconds[True] < seconds[False]


def _lora(path: Path) -> LoraConfig:
    fields = json.loads(path.read_text("utf-8"))
    if set(fields) != _CONFIG_KEYS or fields["peft_type"] != "LORA":
        raise ValueError("its configuration is not a LoRA adapter of Learnback")
    return LoraConfig(r=fields["r"], lora_alpha=fields["lora_alpha"], target_modules=fields["target_modules"])


def _shapes(weights: Weights) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in weights.items()}


def finite(path: Path) -> Weights:
    """The tensors of a safetensors file.

    Raises:
        ArtifactError: it cannot be read or holds NaN or infinity.
    """
    try:
        weights = load_file(path)
    except Exception as error:  # safetensors raises its own error and OSError; each means: do not use this file
        raise ArtifactError(f"{path.parent.name}/{path.name} cannot be read ({type(error).__name__}).") from None
    bad = next((name for name, value in weights.items() if not torch.isfinite(value).all()), None)
    if bad:
        raise ArtifactError(f"{path.parent.name}/{path.name}: tensor {bad} is not finite.")
    return weights
