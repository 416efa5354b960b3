"""The task `classification`: an encoder, and per version an adapter and a linear head over the version's own labels.

A version's folder holds `adapter_model.safetensors`, `adapter_config.json`, `head.safetensors` and `labels.json`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, TypeAdapter, ValidationError
from safetensors.torch import save_file
from torch import Tensor

from schemas.events import Label, LabelScore
from shared.errors import ArtifactError
from shared.lm.adapters import finite
from shared.lm.encoder import Encoder

LABELS: TypeAdapter[tuple[str, ...]] = TypeAdapter(Annotated[tuple[Label, ...], Field(min_length=1)])
PROBE = ("warm up", "a longer text to warm up the kernels for the shapes that will come")


@dataclass(frozen=True)
class Head:
    """Labels and the linear map from unit vectors to their logits: weight [labels, width], bias [labels]."""

    labels: tuple[str, ...]
    weight: Tensor
    bias: Tensor

    def logits(self, vectors: Tensor) -> Tensor:
        """Logits [rows, labels] of unit vectors [rows, width]."""
        return vectors @ self.weight.T + self.bias

    def save(self, folder: Path) -> None:
        """Write `head.safetensors` and `labels.json`."""
        save_file({"weight": self.weight.contiguous(), "bias": self.bias.contiguous()}, folder / "head.safetensors")
        (folder / "labels.json").write_text(json.dumps(self.labels, ensure_ascii=False, indent=0), "utf-8")

    @classmethod
    def load(cls, folder: Path) -> Head:
        """Read a head.

        Raises:
            ArtifactError: labels and tensors cannot be read or do not fit each other, or a value is not finite.
        """
        try:
            labels = LABELS.validate_json((folder / "labels.json").read_bytes())
        except (OSError, ValidationError) as error:
            raise ArtifactError(f"{folder.name}/labels.json holds no labels ({type(error).__name__}).") from None
        weights = finite(folder / "head.safetensors")
        shapes = {name: (value.dtype, value.shape[:1], value.dim()) for name, value in weights.items()}
        rows = torch.Size([len(set(labels))])
        if shapes != {"weight": (torch.float32, rows, 2), "bias": (torch.float32, rows, 1)}:
            raise ArtifactError(f"{folder.name}: head and labels do not fit each other.")
        return cls(labels, weights["weight"], weights["bias"])


class Classifier:
    """One base and the versions loaded on it."""

    def __init__(self, base: str) -> None:
        """Load the base."""
        self.encoder = Encoder(base)
        self._heads: dict[str, Head] = {}

    @property
    def versions(self) -> frozenset[str]:
        """The versions that can answer."""
        return frozenset(self._heads)

    def load(self, version: str, folder: Path) -> None:
        """Make a version ready to answer, warmed up by a probe; loading it again does nothing.

        Raises:
            ArtifactError: its files cannot be trusted; nothing has changed.
        """
        if version in self._heads:
            return
        head = Head.load(folder)
        if head.weight.shape[1] != self.encoder.width:
            raise ArtifactError(f"{version}: its head does not fit the base {self.encoder.base}.")
        self.encoder.load(version, folder)
        self._heads[version] = head
        try:
            self.predict(version, PROBE)
        except ArtifactError:
            self.drop(version)
            raise

    def drop(self, version: str) -> None:
        """Forget a version."""
        if self._heads.pop(version, None):
            self.encoder.drop(version)

    def labels(self, version: str) -> tuple[str, ...]:
        """The labels a version knows."""
        return self._heads[version].labels

    def predict(self, version: str, texts: Sequence[str], top_k: int = 1) -> list[tuple[LabelScore, ...]]:
        """The `top_k` labels of each text with their probabilities, highest first.

        Raises:
            ArtifactError: the version's weights, finite as they are, overflow on a text.
        """
        head = self._heads[version]
        vectors = self.encoder.embed(self.encoder.tokens(texts), version)
        with torch.inference_mode():
            top = head.logits(vectors).softmax(-1).topk(min(top_k, len(head.labels)))
        if not torch.isfinite(top.values).all():  # NaN would pass the min() below as a belief of 1
            raise ArtifactError(f"{version}: its answers are not finite.")
        return [
            tuple(
                LabelScore(label=head.labels[index], score=min(1.0, score))
                for score, index in zip(scores, indices, strict=True)
            )
            for scores, indices in zip(top.values.tolist(), top.indices.tolist(), strict=True)
        ]
