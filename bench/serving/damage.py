"""What happens to files: cut, a bit flipped, zeros in the place of bytes, NaN in the place of a number.

The first three come after the manifest, as a disk or a copy does them. NaN comes before: the training went wrong, and
the digests vouch for it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from shared.artifacts import ArtifactStore
from shared.manifest import MANIFEST

Damage = Callable[[bytearray, random.Random], None]


def cut(raw: bytearray, chance: random.Random) -> None:
    """Lose the end."""
    del raw[chance.randrange(len(raw)) :]


def flip(raw: bytearray, chance: random.Random) -> None:
    """Flip one bit."""
    raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)


def zero(raw: bytearray, chance: random.Random) -> None:
    """Lose a block of bytes to zeros, with something in it that was none."""
    place = chance.choice([place for place, byte in enumerate(raw) if byte][:: max(1, len(raw) // 1000)])
    end = min(len(raw), place + chance.randrange(1, 4096))
    raw[place:end] = bytes(end - place)


AFTER: dict[str, Damage] = {"cut": cut, "flipped": flip, "zero-filled": zero}
KINDS = (*AFTER, "NaN")


def store_damaged(store: ArtifactStore, files: Path, version: str, kind: str, chance: random.Random) -> str:
    """Store a copy of good files, made in `files`, with one of them damaged; the digest that would be announced."""
    if kind == "NaN":
        _spoil(chance.choice(sorted(files.glob("*.safetensors"))), chance)
    digest = store.put(f"versions/{version}", files, {"version": version})
    if kind in AFTER:
        stored = chance.choice(sorted((store.root / "versions" / version).iterdir()))
        raw = bytearray(stored.read_bytes())
        AFTER[kind](raw, chance)
        stored.write_bytes(raw)
    assert (store.root / "versions" / version / MANIFEST).exists(), "damaged, not missing"
    return digest


def _spoil(path: Path, chance: random.Random) -> None:
    """Put NaN or infinity into one number of one tensor."""
    tensors = load_file(path)
    tensor = tensors[chance.choice(sorted(tensors))]
    tensor.view(-1)[chance.randrange(tensor.numel())] = chance.choice([torch.nan, torch.inf, -torch.inf])
    save_file(tensors, path)
