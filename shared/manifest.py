"""The manifest of a folder of the artifact store: what made it, and the SHA-256 of each of its files."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

from shared.errors import ArtifactError

MANIFEST = "manifest.json"
MAX_FILES = 64  # an adapter has about six; a manifest that lists more is not ours


def read_manifest(folder: str, text: bytes | None, manifest_sha256: str | None = None) -> dict[str, Any]:
    """A folder's manifest, of which the names are plain.

    Raises:
        ArtifactError: there is none, it is torn, or it is not the one that was announced.
    """
    if text is None:
        raise ArtifactError(f"{folder} has no manifest in the artifact store.")
    if manifest_sha256 is not None and hashlib.sha256(text).hexdigest() != manifest_sha256:
        raise ArtifactError(f"The manifest of {folder} is not the one that was announced.")
    try:
        manifest: dict[str, Any] = json.loads(text)
        listed = dict(manifest["files"])
    except (ValueError, KeyError, TypeError):
        raise ArtifactError(f"The manifest of {folder} is torn; restore it.") from None
    if len(listed) > MAX_FILES or any(PurePosixPath(name).name != name for name in listed):
        raise ArtifactError(f"The manifest of {folder} lists a file outside of it.")
    return manifest


def checked(folder: str, files: Path, text: bytes | None, manifest_sha256: str | None = None) -> dict[str, Any]:
    """The manifest of a local folder, after every file was held against it.

    Raises:
        ArtifactError: as `read_manifest`, or a file is missing or altered; says which.
    """
    manifest = read_manifest(folder, text, manifest_sha256)
    for name, digest in manifest["files"].items():
        if not (files / name).is_file() or sha256(files / name) != digest:
            raise ArtifactError(f"{folder}/{name} is missing or differs from its manifest; restore it.")
    return manifest


def sha256(path: Path) -> str:
    """The SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Bring a file or folder itself onto the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
