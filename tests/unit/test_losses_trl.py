"""The losses are TRL's: its own trainers, on a tiny random model, give the same number and the same gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from shared.lm.losses import IGNORED, champion_kl, dpo_loss, kto_loss, sequence_log_probs, sft_loss

trl = pytest.importorskip("trl", reason="the oracle of the losses, TRL, is not installed: it is the extra `oracles`")
datasets = pytest.importorskip("datasets", reason="TRL takes its rows from datasets, which is not installed")

TOLERANCE = 1e-5
BETA = 0.3
WORDS = ["<end>", "<pad>", *(f"w{index}" for index in range(46))]
ON_CPU = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none", "disable_tqdm": True}

Row = dict[str, Any]
Batch = dict[str, Tensor]
Train = Callable[..., tuple[Any, Batch]]

PROMPTS = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9", "w10 w11"]
CHOSEN = ["w12 w13", "w14 w15 w16 w17", "w18", "w19 w20 w21"]
REJECTED = ["w22 w23 w24", "w25", "w26 w27 w28 w29 w30", "w31 w32"]

COMPLETIONS = [{"prompt": prompt, "completion": text} for prompt, text in zip(PROMPTS, CHOSEN, strict=True)]
PAIRS = [
    {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    for prompt, chosen, rejected in zip(PROMPTS, CHOSEN, REJECTED, strict=True)
]


def thumbs(*liked: bool) -> list[Row]:
    return [{**row, "label": like} for row, like in zip(COMPLETIONS, liked, strict=True)]


def tiny(seed: int) -> LlamaForCausalLM:
    """A random model of two layers, whose wide weights make it sure of itself: no loss is near its centre."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        initializer_range=0.2,
    )  # fmt: skip
    return LlamaForCausalLM(config)  # type: ignore[no-untyped-call]


def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<pad>"))
    words.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", pad_token="<pad>")  # type: ignore[no-untyped-call]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Make one of TRL's trainers, and the batch that it makes of the rows by itself."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)  # it would tell its makers of each

    def make(name: str, rows: Sequence[Row], champion: LlamaForCausalLM | None = None, **config: Any) -> Any:
        settings = getattr(trl, f"{name}Config")(
            str(tmp_path),
            **ON_CPU,
            per_device_train_batch_size=len(rows),
            train_sampling_strategy="sequential",
            **config,
        )
        trainer = getattr(trl, f"{name}Trainer")(
            model=tiny(seed=1),
            args=settings,
            train_dataset=datasets.Dataset.from_list([spaced(row) for row in rows]),
            processing_class=tokenizer(),
            **({"ref_model": champion} if champion else {}),
        )
        return trainer, next(iter(trainer.get_train_dataloader()))

    return make


def spaced(row: Row) -> Row:
    """TRL glues the end token to the text; these words need spaces."""
    return {key: f"{text} " if isinstance(text, str) else text for key, text in row.items()}


def labels(batch: Batch, kind: str = "") -> Tensor:
    return batch[f"{kind}input_ids"].masked_fill(batch[f"{kind}completion_mask"] == 0, IGNORED)


def logits(model: Any, batch: Batch, kind: str = "") -> Tensor:
    made: Tensor = model(batch[f"{kind}input_ids"], attention_mask=batch[f"{kind}attention_mask"]).logits
    return made


def ratios(model: Any, champion: Any, batch: Batch, kind: str = "") -> Tensor:
    """log π − log π_champion of each row's completion."""
    with torch.no_grad():
        known = sequence_log_probs(logits(champion, batch, kind), labels(batch, kind))
    return sequence_log_probs(logits(model, batch, kind), labels(batch, kind)) - known


def gradients(model: Any, loss: Tensor) -> dict[str, Tensor]:
    named = dict(model.named_parameters())
    return dict(zip(named, torch.autograd.grad(loss, list(named.values()), retain_graph=True), strict=True))


def assert_same(model: Any, ours: Tensor, theirs: Tensor) -> None:
    """The same loss, and the same gradient of each weight; none of them nothing."""
    torch.testing.assert_close(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)
    wanted = gradients(model, theirs)
    assert all(gradient.abs().max() > 100 * TOLERANCE for gradient in wanted.values()), "too small to compare"
    torch.testing.assert_close(gradients(model, ours), wanted, rtol=TOLERANCE, atol=TOLERANCE)


def test_supervised_loss_is_that_of_trl(train: Train) -> None:
    trainer, batch = train("SFT", COMPLETIONS)
    theirs = trainer.compute_loss(trainer.model, dict(batch))
    assert (batch["labels"] == IGNORED).any(), "TRL is to leave out the prompts"
    assert_same(trainer.model, sft_loss(logits(trainer.model, batch), batch["labels"]), theirs)


def test_a_row_of_weight_two_is_for_trl_a_row_given_twice(train: Train) -> None:
    once, twice = train("SFT", COMPLETIONS), train("SFT", [COMPLETIONS[0], *COMPLETIONS])
    trainer, batch = once
    ours = sft_loss(logits(trainer.model, batch), batch["labels"], torch.tensor([2.0, 1, 1, 1]))
    tokens, more = ((made["labels"] != IGNORED).sum() for _, made in (once, twice))
    assert_same(trainer.model, ours * tokens / more, trainer.compute_loss(trainer.model, dict(twice[1])))


@pytest.mark.parametrize(("kind", "flipped"), [("sigmoid", 0.0), ("robust", 0.1), ("robust", 0.4)])
def test_preference_loss_is_that_of_trl(train: Train, kind: str, flipped: float) -> None:
    champion = tiny(seed=2)
    trainer, batch = train("DPO", PAIRS, champion, loss_type=[kind], beta=BETA, label_smoothing=flipped)
    theirs = trainer.compute_loss(trainer.model, dict(batch))
    chosen, rejected = ratios(trainer.model, champion, batch).chunk(2)
    assert_same(trainer.model, dpo_loss(chosen, rejected, beta=BETA, flipped=flipped), theirs)


def test_a_pair_of_weight_two_is_for_trl_a_pair_given_twice(train: Train) -> None:
    champion = tiny(seed=2)
    trainer, batch = train("DPO", PAIRS, champion, beta=BETA)
    _, twice = train("DPO", [PAIRS[0], *PAIRS], champion, beta=BETA)
    chosen, rejected = ratios(trainer.model, champion, batch).chunk(2)
    ours = dpo_loss(chosen, rejected, beta=BETA, weights=torch.tensor([2.0, 1, 1, 1]))
    assert_same(trainer.model, ours * 4 / 5, trainer.compute_loss(trainer.model, twice))


@pytest.mark.parametrize("liked", [(True, False, False, True), (True,) * 4, (False,) * 4])
@pytest.mark.parametrize("nearer", [False, True], ids=["moved away", "estimate below zero"])
def test_thumbs_loss_is_that_of_trl(train: Train, liked: tuple[bool, ...], nearer: bool) -> None:
    champion = tiny(seed=4 if nearer else 2)
    sides: dict[str, Any] = {"desirable_weight": 1.3, "undesirable_weight": 0.7}
    trainer, batch = train("KTO", thumbs(*liked), champion, beta=BETA, **sides)
    theirs = trainer.compute_loss(trainer.model, dict(batch))
    mismatched = ratios(trainer.model, champion, batch, "KL_")
    assert (mismatched.mean() < 0) == nearer, "both sides of the clamp are to be seen"
    rows = ratios(trainer.model, champion, batch)
    ours = kto_loss(rows, batch["label"].bool(), mismatched, beta=BETA, **sides)
    assert_same(trainer.model, ours, theirs)


def test_divergence_from_the_champion_is_that_of_trl(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    gkd = pytest.importorskip("trl.experimental.gkd", reason="this TRL has its divergence elsewhere")
    trainer, batch = train("SFT", COMPLETIONS)
    made, known = logits(trainer.model, batch), logits(tiny(seed=2), batch).detach()
    shifted = made[:, :-1], known[:, :-1], batch["labels"][:, 1:]
    theirs = gkd.GKDTrainer.generalized_jsd_loss(*shifted, beta=0)
    assert_same(trainer.model, champion_kl(made, known, batch["labels"]), theirs)
