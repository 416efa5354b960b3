"""LoRA adapters beside a frozen model: any number of them answer in one forward, each in its own places.

peft puts an adapter into the model, as training needs it: the model changes when one is loaded, and computes under one
at a time, or row by row (`adapter_names`). Here the model stays as it is. A hook behind each linear map adds
x·Aᵀ·Bᵀ·α/r (Hu et al. 2021, arXiv:2106.09685) in the places of a batch that belong to an adapter. So a version is
loaded while another answers, a swap is the exchange of a name, and texts of several versions share a forward.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from shared.errors import ArtifactError

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
INNER = re.compile(r"\blayers?\.(\d+)\.")  # a module inside of a layer, and which
_CONFIG_KEYS = {"peft_type", "r", "lora_alpha", "target_modules"}
_TENSOR = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")

Places = tuple[slice, ...]  # of a tensor [rows, tokens, width]


@dataclass(frozen=True, eq=False)
class Lora:
    """One adapter: for the name of each linear map that it changes, A [rank, in] and B·α/r [out, rank]."""

    maps: Mapping[str, tuple[Tensor, Tensor]]

    @classmethod
    def read(cls, folder: Path, linears: Mapping[str, nn.Linear]) -> Lora:
        """Read what `shared.lm.adapters.Adapted.save` wrote for a model that has these linear maps.

        Raises:
            ArtifactError: the files are not a LoRA adapter for this model, or hold a value that is not finite.
        """
        weights, fields = finite(folder / WEIGHTS), configuration(folder)
        rank, scale = fields["r"], fields["lora_alpha"] / fields["r"]
        wanted = {name: one for name, one in linears.items() if _targeted(name, fields["target_modules"])}
        if _signature(weights) != _expected(wanted, rank):
            raise ArtifactError(f"{folder.name} does not fit the base: its tensors are others.")
        return cls.of(weights, scale, wanted)

    @classmethod
    def of(cls, weights: Mapping[str, Tensor], scale: float, linears: Mapping[str, nn.Linear]) -> Lora:
        """From tensors by peft's names and α/r; of these linear maps, those that they change."""
        tensor = {key.groups(): value for name, value in weights.items() if (key := _TENSOR.fullmatch(name))}
        like = {name: one.weight for name, one in linears.items() if (name, "A") in tensor}
        return cls(
            {name: (tensor[name, "A"].to(one), (tensor[name, "B"] * scale).to(one)) for name, one in like.items()}
        )

    def merged(self, linears: Mapping[str, nn.Linear]) -> list[Tensor]:
        """The weights of all linear maps, in their order: W + B·A·α/r of those that it changes."""
        found = []
        for name, one in linears.items():
            weight = one.weight.detach()
            if (pair := self.maps.get(name)) is not None:
                weight = (weight.float() + pair[1].float() @ pair[0].float()).to(weight.dtype)
            found.append(weight)
        return found


Part = tuple[Lora, Places]


class Carrier:
    """The linear maps of one model, which add what adapters say. Each thread says for itself where which one does."""

    def __init__(self, model: nn.Module) -> None:
        """Hang a hook behind each linear map in the layers."""
        self.linears = {
            name: one for name, one in model.named_modules() if type(one) is nn.Linear and INNER.search(name)
        }
        self.adapters: dict[str, Lora] = {}
        self._now = threading.local()
        for name, one in self.linears.items():
            one.register_forward_hook(partial(self._add, name))

    @contextmanager
    def carrying(self, parts: Sequence[Part]) -> Iterator[None]:
        """Within the block the model computes with these adapters, each in its own places."""
        before = getattr(self._now, "parts", ())
        self._now.parts = parts
        try:
            yield
        finally:
            self._now.parts = before

    def _add(self, name: str, _linear: nn.Linear, given: tuple[Tensor, ...], out: Tensor) -> None:
        for lora, places in getattr(self._now, "parts", ()):
            if (pair := lora.maps.get(name)) is not None:
                out[places] += functional.linear(functional.linear(given[0][places], pair[0]), pair[1])


@contextmanager
def holding(linears: Sequence[nn.Linear], weights: Sequence[Tensor]) -> Iterator[None]:
    """Within the block the linear maps hold these weights, which need not be parameters."""
    before = [one._parameters["weight"] for one in linears]
    for one, weight in zip(linears, weights, strict=True):
        one._parameters["weight"] = cast(nn.Parameter, weight)
    try:
        yield
    finally:
        for one, parameter in zip(linears, before, strict=True):
            one._parameters["weight"] = parameter


def parts(loras: Sequence[Lora], sizes: Sequence[int], axis: int) -> list[Part]:
    """Whose the places along an axis are: so many of the first as the first size says, and so on.

    Neighbours under one adapter are one part.
    """
    found, start = [], 0
    for lora, entries in groupby(zip(loras, sizes, strict=True), key=itemgetter(0)):
        stop = start + sum(size for _, size in entries)
        found.append((lora, (*[slice(None)] * axis, slice(start, stop))))
        start = stop
    return found


def configuration(folder: Path) -> dict[str, Any]:
    """What an adapter's configuration says: rank, scale and the names of what it changes.

    Raises:
        ArtifactError: it is not a LoRA adapter of Learnback.
    """
    try:
        fields: dict[str, Any] = json.loads((folder / CONFIG).read_bytes())
        known = set(fields) == _CONFIG_KEYS and fields["peft_type"] == "LORA"
        sound = known and int(fields["r"]) > 0 and float(fields["lora_alpha"]) > 0 and list(fields["target_modules"])
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(f"{folder.name}/{CONFIG} cannot be read ({type(error).__name__}).") from None
    if not sound:
        raise ArtifactError(f"{folder.name}/{CONFIG} is not a LoRA adapter of Learnback.")
    return fields


def finite(path: Path) -> dict[str, Tensor]:
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


def _targeted(name: str, targets: Sequence[str]) -> bool:
    """Whether a linear map is meant by one of the names, as peft reads them: a whole name or its end."""
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _signature(weights: Mapping[str, Tensor]) -> dict[str, tuple[torch.dtype, torch.Size]]:
    return {name: (value.dtype, value.shape) for name, value in weights.items()}


def _expected(linears: Mapping[str, nn.Linear], rank: int) -> dict[str, tuple[torch.dtype, torch.Size]]:
    shapes = {}
    for name, one in linears.items():
        shapes[f"base_model.model.{name}.lora_A.weight"] = torch.float32, torch.Size([rank, one.in_features])
        shapes[f"base_model.model.{name}.lora_B.weight"] = torch.float32, torch.Size([one.out_features, rank])
    return shapes
