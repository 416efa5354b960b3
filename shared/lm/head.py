"""The head of a classifier: labels, and the linear map from unit vectors to their logits."""

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
from torch.nn import functional

from schemas.events import Label
from shared.errors import ArtifactError
from shared.lm.lora import finite

LABELS: TypeAdapter[tuple[str, ...]] = TypeAdapter(Annotated[tuple[Label, ...], Field(min_length=1)])
SCALE = 20.0  # length of a fresh row on unit vectors: cosine 1 vs .7 becomes six logits apart (docs/log.md)
STAY = 0.1  # what a fitted head pays, in rows of loss, for the square of each step away from where it was (docs/log.md)
STEPS = 30  # of L-BFGS at most; it has come near enough by then


@dataclass(frozen=True)
class Head:
    """Labels and the linear map from unit vectors to their logits: weight [labels, width], bias [labels]."""

    labels: tuple[str, ...]
    weight: Tensor
    bias: Tensor

    def logits(self, vectors: Tensor) -> Tensor:
        """Logits [rows, labels] of unit vectors [rows, width]."""
        return vectors @ self.weight.T + self.bias

    def grown(self, vectors: Tensor, targets: Sequence[str]) -> Head:
        """The head with a row for every target it does not know: the mean of that target's vectors [n, width].

        A new row is as long as the others are on average.
        """
        new = sorted(set(targets) - set(self.labels))
        if not new:
            return self
        length = self.weight.norm(dim=1).mean() if len(self.labels) else self.weight.new_tensor(SCALE)
        bias = self.bias.mean() if len(self.labels) else self.bias.new_tensor(0.0)
        means = [vectors[[index for index, target in enumerate(targets) if target == label]].mean(0) for label in new]
        rows = functional.normalize(torch.stack(means), dim=-1) * length
        return Head(
            (*self.labels, *new), torch.cat([self.weight, rows]), torch.cat([self.bias, bias.expand(len(new)).clone()])
        )

    def to(self, device: torch.device) -> Head:
        """The same head on a device."""
        return Head(self.labels, self.weight.to(device), self.bias.to(device))

    def fitted(self, vectors: Tensor, targets: Tensor, weights: Tensor) -> Head:
        """The head near this one that tells rows apart best: vectors [n, width], targets and weights [n].

        Logistic regression whose prior is the head as it was: Σ w · cross entropy + `STAY` / 2 · |θ − θ before|².
        """
        weight, bias = self.weight.clone().requires_grad_(), self.bias.clone().requires_grad_()
        solver = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            solver.zero_grad()
            losses = functional.cross_entropy(vectors @ weight.T + bias, targets, reduction="none")
            moved = (weight - self.weight).square().sum() + (bias - self.bias).square().sum()
            total = (losses * weights).sum() + STAY / 2 * moved
            total.backward()  # type: ignore[no-untyped-call]
            return total

        solver.step(loss)  # type: ignore[no-untyped-call]
        return Head(self.labels, weight.detach(), bias.detach())

    def save(self, folder: Path) -> None:
        """Write `head.safetensors` and `labels.json`."""
        save_file({"weight": self.weight.contiguous(), "bias": self.bias.contiguous()}, folder / "head.safetensors")
        (folder / "labels.json").write_text(json.dumps(self.labels, ensure_ascii=False, indent=0), "utf-8")

    @classmethod
    def empty(cls, width: int) -> Head:
        """A head that knows no label yet."""
        return cls((), torch.empty(0, width, device="cpu"), torch.empty(0, device="cpu"))

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
