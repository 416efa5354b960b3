"""A classifier as one ONNX graph: token ids and their mask in, its belief in each label out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxscript  # noqa: F401  (torch's exporter needs it: say so before anything is computed)
import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.lm.head import Head

GRAPH = "model.onnx"  # its weights lie beside it: a protobuf ends at 2 GB
SHOWN = torch.tensor([[101, 102, 103], [101, 102, 0]])  # any batch: rows and tokens are left open


class Classifier(nn.Module):
    """An encoder with an adapter merged into it, and a version's head, as `shared.lm.classification` computes them."""

    def __init__(self, encoder: Any, head: Head) -> None:
        """Put the two together."""
        super().__init__()
        self._encoder = encoder
        self.register_buffer("weight", head.weight)
        self.register_buffer("bias", head.bias)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Probabilities [rows, labels] of padded token ids [rows, tokens] and which of them are tokens, 1 or 0."""
        hidden = self._encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weight = attention_mask[..., None].to(hidden.dtype)
        vectors = functional.normalize((hidden * weight).sum(1) / weight.sum(1), dim=-1)
        return functional.linear(vectors, self.get_buffer("weight"), self.get_buffer("bias")).softmax(-1)


def write_graph(encoder: Any, head: Head, folder: Path) -> None:
    """Write the graph and its weights into a folder."""
    sizes = {0: torch.export.Dim("rows"), 1: torch.export.Dim("tokens")}
    torch.onnx.export(
        Classifier(encoder, head).eval(),
        (),
        folder / GRAPH,
        kwargs={"input_ids": SHOWN, "attention_mask": (SHOWN > 0).long()},
        input_names=["input_ids", "attention_mask"],
        output_names=["scores"],
        dynamic_shapes={"input_ids": sizes, "attention_mask": sizes},
        external_data=True,
        dynamo=True,
        verbose=False,
    )
