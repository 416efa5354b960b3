"""A packed base is unpacked once, whole or not at all, and says the same as before."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from shared.errors import ArtifactError, ConfigError
from shared.lm import bases, unpack
from shared.lm.bases import Packaged, locate
from shared.lm.unpack import unpacked
from shared.manifest import sha256

WIDTH, INNER, HEADS = 64, 96, 2
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789Ġ"
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["Ġ Ġ", "t h", "th e"]
WORDS = [*CONTROL, *LETTERS, "ĠĠ", "th", "the"]
SHAPES = {
    "token_embd.weight": (len(WORDS), WIDTH),
    "output_norm.weight": (WIDTH,),
    "blk.0.attn_norm.weight": (WIDTH,),
    "blk.0.ffn_norm.weight": (WIDTH,),
    "blk.0.attn_q.weight": (WIDTH, WIDTH),
    "blk.0.attn_k.weight": (WIDTH, WIDTH),
    "blk.0.attn_v.weight": (WIDTH, WIDTH),
    "blk.0.attn_output.weight": (WIDTH, WIDTH),
    "blk.0.ffn_gate.weight": (INNER, WIDTH),
    "blk.0.ffn_up.weight": (INNER, WIDTH),
    "blk.0.ffn_down.weight": (WIDTH, INNER),
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "learnback" / "bases"


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return write(tmp_path / "tiny.Q4_1.gguf")


def write(path: Path, pre: str = "smollm") -> Path:
    """A language model of one layer, packed as the real one is."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(WORDS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(WORDS)
    writer.add_token_types([3 if word in CONTROL else 1 for word in WORDS])
    writer.add_token_merges(MERGES)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    for role, number in (("bos", 1), ("eos", 2), ("unk", 0), ("pad", 2)):
        getattr(writer, f"add_{role}_token_id")(number)
    chance = np.random.default_rng(0)
    for name, shape in SHAPES.items():
        values = chance.normal(size=shape).astype(np.float32)
        kind = gguf.GGMLQuantizationType.F32 if len(shape) == 1 else gguf.GGMLQuantizationType.Q4_1
        writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_the_weights_are_those_of_the_packed_file(packed: Path) -> None:
    stored = load_file(unpacked(packed, sha256(packed)) / "model.safetensors")
    meant = {one.name: gguf.dequantize(one.data, one.tensor_type) for one in gguf.GGUFReader(packed).tensors}
    for ours, theirs in (
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.norm.weight", "output_norm.weight"),
        ("model.layers.0.self_attn.v_proj.weight", "blk.0.attn_v.weight"),
        ("model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight"),
    ):
        assert torch.equal(stored[ours], torch.from_numpy(meant[theirs].copy()).bfloat16()), ours
    turned = meant["blk.0.attn_q.weight"].reshape(HEADS, -1, 2, WIDTH).swapaxes(1, 2).reshape(WIDTH, WIDTH)
    assert torch.equal(stored["model.layers.0.self_attn.q_proj.weight"], torch.from_numpy(turned.copy()).bfloat16())


def test_transformers_loads_the_folder_with_nothing_missing(packed: Path) -> None:
    folder = unpacked(packed, sha256(packed))
    model, report = cast(tuple[Any, Any], AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True))
    assert not any(report.values()), report
    assert model.config.tie_word_embeddings
    assert model.generation_config.eos_token_id == 2


def test_the_tokenizer_ends_turns_and_splits_digits_as_the_base_was_trained(packed: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(unpacked(packed, sha256(packed)))
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token) == (
        "<|im_start|>",
        "<|im_end|>",
        "<|im_end|>",
        "<|endoftext|>",
    )
    assert tokenizer.tokenize("the<|im_end|>  12") == ["the", "<|im_end|>", "ĠĠ", "1", "2"]
    assert tokenizer.decode(tokenizer("the  12 . the")["input_ids"]) == "the  12  the"  # the file has no dot
    assert tokenizer.model_max_length == 128
    assert tokenizer.apply_chat_template([{"role": "user", "content": "the"}], tokenize=False) == "the"


def test_it_is_unpacked_once(packed: Path, cache: Path) -> None:
    folder = unpacked(packed, sha256(packed))
    made = (folder / unpack.INDEX).stat().st_mtime_ns
    assert unpacked(packed, sha256(packed)) == folder
    assert (folder / unpack.INDEX).stat().st_mtime_ns == made
    assert [path for path in cache.iterdir() if path.is_dir()] == [folder]


def test_of_two_that_want_it_at_once_one_waits_and_both_get_it(packed: Path, cache: Path) -> None:
    with ThreadPoolExecutor(2) as pool:  # each opens the lock itself, as two processes would
        found = [task.result() for task in [pool.submit(unpacked, packed, sha256(packed)) for _ in range(2)]]
    assert found[0] == found[1]
    assert [path for path in cache.iterdir() if path.is_dir()] == [found[0]]


@pytest.mark.parametrize("name", ["model.safetensors", unpack.INDEX])
def test_what_was_altered_or_left_half_done_is_made_again(packed: Path, cache: Path, name: str) -> None:
    folder = unpacked(packed, sha256(packed))
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:100])
    (cache / f"{folder.name}.tmp").mkdir()
    assert unpacked(packed, sha256(packed)) == folder
    assert (folder / name).read_bytes() == whole


def test_a_file_that_is_not_the_known_one_is_refused(packed: Path, cache: Path) -> None:
    with pytest.raises(ArtifactError, match=r"The weights tiny.Q4_1.gguf differ from their known digest: reinstall"):
        unpacked(packed, "0" * 64)
    assert not any(path.is_dir() for path in cache.iterdir())


def test_an_unknown_tokenizer_is_refused_and_not_guessed(tmp_path: Path) -> None:
    other = write(tmp_path / "other.gguf", pre="qwen2")
    with pytest.raises(ConfigError, match="has the tokenizer gpt2/qwen2"):
        unpacked(other, sha256(other))


def test_a_base_is_named_by_what_is_in_it(tmp_path: Path) -> None:
    first, same, other = (tmp_path / name for name in ("first", "same", "other"))
    for folder, weights in ((first, b"1"), (same, b"1"), (other, b"2")):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(weights)
        (folder / "README.md").write_text(folder.name)
    assert bases.digest(str(first)) == bases.digest(str(same)) != bases.digest(str(other))
    assert bases.digest("SmolLM2-135M-Instruct") == f"sha256:{bases.PACKAGED['SmolLM2-135M-Instruct'].sha256}"


def test_a_base_from_the_hub_is_named_by_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bases, "try_to_load_from_cache", lambda *_: f"{tmp_path}/snapshots/0123abc/config.json")
    assert bases.digest("some/base") == "commit:0123abc"
    monkeypatch.setattr(bases, "try_to_load_from_cache", lambda *_: None)
    assert bases.digest("another/base") == "unknown"


def test_a_missing_package_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bases.PACKAGED, "away", Packaged("no_such_package", "a.gguf", "0"))
    with pytest.raises(ConfigError, match=r"The base away comes in the package no_such_package, .* run make setup"):
        locate("away")
