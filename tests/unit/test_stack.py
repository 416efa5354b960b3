"""What the lower layers say is computed once; going on from there is the same as running all of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModel,
    BertConfig,
    DistilBertConfig,
    ModernBertConfig,
    PreTrainedConfig,
    RobertaConfig,
    XLMConfig,
    XLMModel,
)

from shared.lm import encoder as encoders
from shared.lm.encoder import Encoder
from shared.lm.stack import Stack
from tests.weights import BASE

SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 50,
}
ARCHITECTURES = [
    BertConfig(**SMALL),
    RobertaConfig(**SMALL),
    ModernBertConfig(**SMALL, pad_token_id=0),
    DistilBertConfig(dim=16, n_layers=4, n_heads=2, hidden_dim=32, vocab_size=50),
]
TEXTS = ["where is my order", "hi", "what is my balance on the savings account that I opened in May"]


def last(model: nn.Module, **inputs: Tensor) -> Tensor:
    found: Tensor = model(**inputs).last_hidden_state
    return found


@pytest.mark.parametrize("config", ARCHITECTURES, ids=lambda config: config.model_type)
@pytest.mark.parametrize("cut", [1, 3])
def test_the_upper_half_goes_on_where_the_lower_ended(config: PreTrainedConfig, cut: int) -> None:
    torch.manual_seed(0)
    model = AutoModel.from_config(config).eval()  # type: ignore[no-untyped-call]
    stack = Stack(model)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    inputs = {"input_ids": torch.randint(1, 50, (2, 4)), "attention_mask": mask}
    with torch.inference_mode():
        whole = last(model, **inputs)
        with stack.below(cut) as heard:
            model(**inputs)
        hidden = heard.pop()
        with stack.above(cut, hidden):
            upper = last(model, inputs_embeds=hidden, attention_mask=mask)
        assert torch.allclose(upper[mask.bool()], whole[mask.bool()], atol=1e-6)
        assert torch.equal(last(model, **inputs), whole)
    assert len(stack) == 4


def test_an_architecture_that_keeps_its_layers_otherwise_is_not_cut() -> None:
    with pytest.raises(ValueError, match="XLMModel does not keep its layers in one list"):
        Stack(XLMModel(XLMConfig(emb_dim=16, n_layers=2, n_heads=2, vocab_size=50)))  # type: ignore[no-untyped-call]


@pytest.fixture
def encoder() -> Encoder:
    """A base in float32 with an adapter that says something."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Encoder, "_bf16_pays", lambda _: False)
        made = Encoder(BASE)
    made.create("taught", 4, 3)
    torch.manual_seed(0)
    made.set_weights("taught", {name: torch.randn_like(value) / 20 for name, value in made.weights("taught").items()})
    return made


def test_the_loss_halfway_is_the_loss_of_the_whole(encoder: Encoder) -> None:
    tokens = encoder.tokens(TEXTS)
    halves = encoder.halfway(tokens, "taught")
    assert [tuple(half.shape) for half in halves if isinstance(half, Tensor)] == [
        (len(row), encoder.width) for row in tokens
    ]
    whole, half = (encoder.forward(inputs) for inputs in (tokens, halves))
    targets = torch.tensor([0, 1, 0])
    losses = [cross_entropy(20 * vectors[:, :2], targets).item() for vectors in (whole, half)]
    assert abs(losses[0] - losses[1]) <= 1e-5


def test_an_adapter_in_the_weights_says_what_it_says_beside_them(encoder: Encoder) -> None:
    halves = encoder.halfway(encoder.tokens(TEXTS), "taught")
    with encoder.training("taught") as parameters:
        beside = encoder.forward(halves)
        within = encoder.embed(halves, "taught")
        assert torch.allclose(within, beside, atol=1e-5)
        assert torch.equal(encoder.forward(halves), beside)
        assert all(parameter.requires_grad for parameter in parameters)
        for parameter in parameters:
            parameter.data *= 1.1
        assert torch.allclose(encoder.embed(halves, "taught"), encoder.forward(halves), atol=1e-5)
    assert (within - beside).norm() < (within - encoder.embed(halves, "taught")).norm() / 10, (
        "it follows what is learned"
    )


def test_gradients_halfway_are_those_of_the_whole(encoder: Encoder) -> None:
    tokens = encoder.tokens(TEXTS)
    found = []
    with encoder.training("taught") as parameters:
        for inputs in (tokens, encoder.halfway(tokens, "taught")):
            encoder.forward(inputs)[:, 0].sum().backward()  # type: ignore[no-untyped-call]
            found.append([parameter.grad for parameter in parameters])
            for parameter in parameters:
                parameter.grad = None
    assert any(grad is not None and bool(grad.any()) for grad in found[0])
    for whole, half in zip(*found, strict=True):
        assert whole is not None
        assert half is not None
        assert torch.allclose(whole, half, atol=1e-6)


def test_what_would_take_too_much_memory_or_has_no_frozen_layer_stays_tokens(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = encoder.tokens(TEXTS)
    encoder.create("everywhere", 4, 6)
    assert encoder.halfway(tokens, "everywhere") is tokens
    monkeypatch.setattr(encoders, "HALFWAY_BYTES", 10_000)
    assert encoder.halfway(tokens, "taught") is tokens
