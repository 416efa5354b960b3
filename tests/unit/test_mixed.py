"""Versions beside a frozen base: packed, mixed and in threads, each text gets what its own version says to it alone."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import (
    AutoModel,
    BertConfig,
    DistilBertConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedConfig,
    RobertaConfig,
)

from shared.errors import ArtifactError
from shared.lm import packing, program
from shared.lm.bases import locate
from shared.lm.encoder import PACKED, Encoder
from shared.lm.lora import CONFIG
from tests.weights import BASE

TEXTS = [
    "where is my order",
    "hi",
    "what is my balance on the savings account that I opened in May",
    "hi",
    "a " * 200,
]
NAMES = ["first", "second", "first", "third", "second"]
SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 30_522,
}


def in_float32(base: str) -> Encoder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Encoder, "_bf16_pays", lambda _: False)
        return Encoder(base)


def saved(encoder: Encoder, folder: Path, seed: int, rank: int, layers: int) -> Path:
    """The files of an adapter that says something."""
    folder.mkdir()
    encoder.create("made", rank, layers)
    torch.manual_seed(seed)
    encoder.save("made", {name: torch.randn_like(one) / 20 for name, one in encoder.weights("made").items()}, folder)
    encoder.drop("made")
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three adapters of different ranks and heights."""
    folder, maker = tmp_path_factory.mktemp("adapters"), in_float32(BASE)
    shapes = {"first": (1, 4, 3), "second": (2, 8, 1), "third": (3, 2, 6)}
    return {name: saved(maker, folder / name, *shape) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def encoder(folders: dict[str, Path]) -> Encoder:
    made = in_float32(BASE)
    for name, folder in folders.items():
        made.attach(name, folder)
    return made


def peft_says(folders: dict[str, Path], encoder: Encoder) -> Tensor:
    """Unit vectors by peft's own mixed batch: `adapter_names`, row by row, on a padded batch."""
    configs = {name: json.loads((folder / CONFIG).read_text()) for name, folder in folders.items()}
    base = AutoModel.from_pretrained(locate(BASE), dtype=torch.float32)
    first, *others = folders
    options = {name: LoraConfig(**{**config, "peft_type": None}) for name, config in configs.items()}
    model = get_peft_model(base, options[first], adapter_name=first)
    for name in others:
        model.add_adapter(name, options[name])
    for name, folder in folders.items():
        model.load_adapter(folder, name)
    model.eval()
    tokens = encoder.tokens(TEXTS)
    width = max(map(len, tokens))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in tokens])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in tokens])
    with torch.inference_mode():
        hidden = model(input_ids=ids, attention_mask=mask, adapter_names=NAMES).last_hidden_state
    return torch.nn.functional.normalize((hidden * mask[..., None]).sum(1), dim=-1)


@pytest.mark.parametrize("packs", [True, False])
def test_a_mixed_batch_says_what_pefts_own_mixed_batch_says(
    folders: dict[str, Path], encoder: Encoder, monkeypatch: pytest.MonkeyPatch, packs: bool
) -> None:
    assert encoder.packs
    monkeypatch.setattr(encoder, "packs", packs)
    found = encoder.vectors(encoder.tokens(TEXTS), NAMES)
    assert torch.allclose(found, peft_says(folders, encoder), atol=1e-5)
    assert (found[1] - found[3]).norm() > 0.01  # one text, two versions


def test_a_padded_batch_of_several_versions_is_one_forward(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    monkeypatch.setattr(encoder, "packs", False)
    with encoder._model.register_forward_hook(lambda *_: runs.append(1)):
        encoder.vectors(encoder.tokens(TEXTS[:4]), NAMES[:4])
    assert runs == [1]


def test_two_threads_compute_under_versions_of_their_own(encoder: Encoder) -> None:
    tokens = encoder.tokens(TEXTS)
    alone = {name: encoder.vectors(tokens, [name] * len(tokens)) for name in ("first", "second")}
    found: dict[str, list[bool]] = {"first": [], "second": []}

    def compute(name: str) -> None:
        for _ in range(20):
            found[name].append(torch.allclose(encoder.vectors(tokens, [name] * len(tokens)), alone[name], atol=1e-5))

    threads = [threading.Thread(target=compute, args=(name,)) for name in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"first": [True] * 20, "second": [True] * 20}


def test_one_that_learns_and_one_that_answers_do_not_hear_each_other(folders: dict[str, Path]) -> None:
    encoder = in_float32(BASE)
    encoder.attach("first", folders["first"])
    tokens = encoder.tokens(TEXTS)
    alone = encoder.vectors(tokens, ["first"] * len(tokens))
    encoder.load("learning", folders["second"])
    with encoder.training("learning") as parameters:
        assert torch.allclose(encoder.vectors(tokens, ["first"] * len(tokens)), alone, atol=1e-5)
        assert all(parameter.requires_grad for parameter in parameters)
        learning = encoder.forward(tokens)
    encoder.attach("second", folders["second"])
    assert torch.allclose(encoder.vectors(tokens, ["second"] * len(tokens)), learning, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "packs"),
    [
        (BertConfig(**SMALL), True),
        (ModernBertConfig(**SMALL, pad_token_id=0), False),  # half of its layers hear neighbours alone
        (RobertaConfig(**SMALL), False),  # counts places from two
        (DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=32, vocab_size=30_522), None),
        (MPNetConfig(**SMALL), False),  # looks at distances within the row
    ],
    ids=lambda one: getattr(one, "model_type", ""),
)
def test_only_an_architecture_that_stays_the_same_is_packed(
    tmp_path: Path, config: PreTrainedConfig, packs: bool | None
) -> None:
    torch.manual_seed(0)
    model = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) / 5  # fresh ones are so small that nothing matters
    model.save_pretrained(tmp_path)
    in_float32(BASE)._tokenizer.save_pretrained(tmp_path)
    encoder = in_float32(str(tmp_path))
    assert packs is None or encoder.packs == packs
    tokens = encoder.tokens(TEXTS)
    encoder.attach("made", saved(encoder, tmp_path / "made", 1, 2, 2))
    together = encoder.vectors(tokens, ["made"] * len(tokens))
    alone = torch.cat([encoder.vectors([one], ["made"]) for one in tokens])
    assert (together - alone).norm(dim=-1).max() < program.ALIKE


def test_files_that_do_not_fit_the_base_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    encoder = in_float32(BASE)
    config = json.loads((folders["first"] / CONFIG).read_text())
    changes: list[dict[str, Any]] = [
        {"r": 3},
        {"target_modules": ["query"]},
        {"lora_alpha": 0},
        {"r": "x"},
        {"peft_type": "IA3"},
        {"more": 1},
    ]
    for number, change in enumerate(changes):
        folder = tmp_path / str(number)
        folder.mkdir()
        for path in folders["first"].iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        (folder / CONFIG).write_text(json.dumps({**config, **change}))
        with pytest.raises(ArtifactError, match=f"^{number}"):
            encoder.attach("altered", folder)
    assert encoder.attached == frozenset()


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 128)), max_size=40), st.integers(96, PACKED))
def test_rows_hold_each_text_once_of_one_version_with_little_padding(texts: list[tuple[str, int]], limit: int) -> None:
    owners, lengths = [owner for owner, _ in texts], [length for _, length in texts]
    found = list(packing.rows(lengths, owners, limit))
    assert sorted(text for row in found for text in row) == list(range(len(texts)))
    for row in found:
        tokens = sum(lengths[text] for text in row)
        assert len({owners[text] for text in row}) == 1
        assert tokens <= 1.5 * limit + 128
        assert len(row) * max(lengths[text] for text in row) <= packing.SPREAD * tokens


@given(st.lists(st.integers(4, 20), min_size=8, max_size=64))
def test_texts_of_one_version_are_two_rows_of_nearly_the_same_size(lengths: list[int]) -> None:
    half = math.ceil(sum(lengths) / 2)
    found = [sum(lengths[text] for text in row) for row in packing.rows(lengths, ["a"] * len(lengths), half)]
    assert len(found) == 2
    assert max(found) <= half + max(lengths)
