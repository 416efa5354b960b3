"""The task `classification`: an encoder, and per version an adapter and a linear head over the version's own labels.

A version's folder holds `adapter_model.safetensors`, `adapter_config.json`, `head.safetensors` and `labels.json`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from schemas.events import LabelScore
from shared.errors import ArtifactError
from shared.lm.encoder import Encoder, finite


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
            ArtifactError: labels and tensors do not fit each other, or a value is not finite.
        """
        labels = tuple(json.loads((folder / "labels.json").read_text("utf-8")))
        weights = finite(folder / "head.safetensors")
        if set(weights) != {"weight", "bias"} or not len(labels) == len(weights["weight"]) == len(weights["bias"]):
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
        """Make a version ready to answer; loading it again does nothing.

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

    def drop(self, version: str) -> None:
        """Forget a version."""
        if self._heads.pop(version, None):
            self.encoder.drop(version)

    def labels(self, version: str) -> tuple[str, ...]:
        """The labels a version knows."""
        return self._heads[version].labels

    def predict(self, version: str, texts: Sequence[str], top_k: int = 1) -> list[tuple[LabelScore, ...]]:
        """The `top_k` labels of each text with their probabilities, highest first."""
        head = self._heads[version]
        vectors = self.encoder.embed(self.encoder.tokens(texts), version)
        with torch.inference_mode():
            top = head.logits(vectors).softmax(-1).topk(min(top_k, len(head.labels)))
        return [
            tuple(
                LabelScore(label=head.labels[index], score=min(1.0, score))
                for score, index in zip(scores, indices, strict=True)
            )
            for scores, indices in zip(top.values.tolist(), top.indices.tolist(), strict=True)
        ]
