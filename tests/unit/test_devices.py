"""What a training computes on: chosen by itself or asked for, told of, and every tensor of it there.

That all tensors go to a GPU is shown without one, in two ways: by a whole training in which each tensor that our code
makes names its device, and by forwards on a pretended GPU, of which torch knows shapes and devices alone, and which
refuses to compute with a tensor that is elsewhere.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from services.trainer.child import check_device, context
from services.trainer.increment import train
from services.trainer.snapshot import Lesson, Pair, Snapshot, Thumb
from shared.errors import ConfigError
from shared.lm.causal import Causal
from shared.lm.classification import Classification
from shared.lm.devices import chosen
from shared.lm.encoder import Encoder
from shared.lm.generation import Generation
from shared.policy import Training
from shared.text import short_hash
from tests.weights import BASE, MODEL, QUICK, ROWS

WRITER = "SmolLM2-135M-Instruct"
TEXTS = ["where is my parcel", "please refund this order that I have sent back"]
FACTORIES = {torch.tensor, torch.empty, torch.zeros, torch.ones, torch.full, torch.arange, torch.rand, torch.randn}
OURS = tuple(str(Path(__file__).parents[2] / folder) for folder in ("shared", "services"))


class Naming(TorchFunctionMode):
    """Within the block our code makes no tensor without saying where; a mode with one flaw is a list of them."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        code = sys._getframe(1).f_code
        if func in FACTORIES and code.co_filename.startswith(OURS):
            self.made += 1
            assert "device" in (kwargs or {}), f"{func.__name__} in {code.co_filename}: {code.co_name}"
        return func(*args, **(kwargs or {}))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """A pretended one."""
    monkeypatch.setattr(nn.Module, "_apply", _moved)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda _: "Pretended")
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: True)
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield torch.device("cuda")


def _moved(module: nn.Module, move: Callable[[torch.Tensor], torch.Tensor], _recurse: bool = True) -> nn.Module:
    """A module with other parameters in place of the old: a pretended tensor cannot take the place of a real one."""
    for child in module.children():
        _moved(child, move)
    for name, one in module._parameters.items():
        if one is not None:
            module._parameters[name] = nn.Parameter(move(one.detach()), requires_grad=one.requires_grad)
    for name, held in module._buffers.items():
        module._buffers[name] = None if held is None else move(held)
    return module


def lessons(rows: list[tuple[str, str]], rejected: str | None = None) -> tuple[Lesson, ...]:
    return tuple(
        Lesson(id=short_hash(*row), target=row[1], weight=1.0, rejected=rejected, voice=number % 3)
        for number, row in enumerate(rows)
    )


def snapshot(task: Any, **fields: Any) -> Snapshot:
    config = QUICK.model_copy(update={"dev_share": 0.4, "max_epochs": 1, "seed_epochs": 1})
    common = {"request_id": "r", "model": MODEL, "parent_manifest": None, "config": config, "replay": ()}
    return Snapshot(**common | {"task": task, "base": BASE, "parent": None} | fields)


def test_it_is_chosen_by_what_is_there_and_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, device in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr("torch.cuda.is_available", lambda there=there: there)
        assert chosen("auto") == torch.device(device)
        assert chosen("cpu") == torch.device("cpu")
    assert chosen("cuda") == torch.device("cuda")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="no GPU"):
        chosen("cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_trainer_that_is_to_have_a_gpu_and_finds_none_says_what_to_set() -> None:
    check_device(context(), "auto")
    with pytest.raises(ConfigError, match="LEARNBACK_TRAINER_DEVICE"):
        check_device(context(), "cuda")


def test_every_tensor_of_a_classifier_in_training_says_where_it_is(tmp_path: Path) -> None:
    texts = {short_hash(*row): row[0] for row in ROWS} | {"b" * 32: "send me the invoice"}
    task, first = Classification(BASE), tmp_path / "first"
    for folder in (first, tmp_path / "next"):
        folder.mkdir()
    new = Lesson(id="b" * 32, target="invoice", weight=1.0)
    with Naming() as naming:
        train(task, None, snapshot("classification", new=lessons(ROWS)), texts, lambda _: None, first)
        then = snapshot("classification", parent="v0", new=(new, *lessons(ROWS[:9])), replay=lessons(ROWS[9:]))
        train(task, first, then, texts, lambda _: None, tmp_path / "next")
    assert naming.made > 20


def test_every_tensor_of_a_writer_in_training_says_where_it_is(tmp_path: Path) -> None:
    rows = [
        ("cancel order 12", '{"cancel": 12}'),
        ("where is order 31", '{"track": 31}'),
        ("refund 8", '{"refund": 8}'),
    ]
    texts = {short_hash(*row): row[0] for row in rows}
    first, then, ids = tmp_path / "first", tmp_path / "next", [*texts]
    for folder in (first, then):
        folder.mkdir()
    said: dict[str, Any] = {"pairs": (Pair(ids=("f-1",), example_id=ids[0], weight=1.0, chosen="yes", rejected="no"),)}
    said |= {"thumbs": (Thumb(ids=("f-2",), example_id=ids[1], weight=1.0, output="no", liked=False),)}
    task = Generation(WRITER)
    with Naming() as naming:
        made = snapshot("generation", base=WRITER, new=lessons(rows))
        train(task, None, made, texts, lambda _: None, first)
        made = snapshot("generation", base=WRITER, parent="v0", new=lessons(rows[:2], "no"), replay=lessons(rows[2:]))
        made = made.model_copy(update={**said, "config": Training(rank=4, layers=1, batch_size=8, dev_share=0.4)})
        train(task, first, made, texts, lambda _: None, then)
    assert naming.made > 20


def test_an_encoder_computes_on_the_device_that_it_was_given(gpu: torch.device) -> None:
    encoder = Encoder(BASE, gpu)
    assert encoder.device == "cuda, Pretended, bfloat16"
    encoder.create("one", rank=4, layers=2)
    tokens = encoder.tokens(TEXTS)
    halfway = encoder.halfway(tokens, "one")
    found = [encoder.embed(tokens, "one")]
    with encoder.training("one") as parameters:
        found += [encoder.forward(tokens), encoder.forward(halfway), *parameters]
    assert {one.device.type for one in found} == {"cuda"}


def test_a_language_model_computes_on_the_device_that_it_was_given(gpu: torch.device) -> None:
    causal = Causal(WRITER, gpu)
    causal.create("one", rank=4, layers=2)
    prompts, said = causal.prompts(TEXTS), causal.completions(["yes", "not now"])
    with causal.training("one") as parameters:
        found = [*causal.logits(prompts, said), *causal.logits(prompts[:1], said[:1]), *parameters]
    assert {one.device.type for one in found} == {"cuda"}
