"""The artifact store: immutable folders named by what they were made from, each with a manifest of digests.

A folder is written under a temporary name, its manifest last, and then renamed: a reader finds all of it or nothing.
safetensors carries no checksum (a flipped bit loads without a word), so every file is checked against the manifest's
SHA-256 before use, and the manifest against the digest in the event that announced it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import fsspec

from shared.errors import ArtifactError

MANIFEST = "manifest.json"
MAX_FILES = 64  # an adapter has about six; a manifest that lists more is not ours


class ArtifactStore:
    """Folders of files at an fsspec URL, with a local cache when the URL is not a local folder."""

    def __init__(self, url: str, cache: Path | None = None) -> None:
        """Open the store; a `file://` URL may be relative."""
        parts = urlsplit(url)
        self._local = parts.scheme in ("", "file")
        if self._local:
            self.root = Path(parts.netloc + parts.path)
            self._files = fsspec.filesystem("file")
        else:
            self._files, remote = fsspec.core.url_to_fs(url)
            self.root = Path(remote)
        self._cache = cache or Path(tempfile.gettempdir()) / "learnback-artifacts"

    def put(self, folder: str, files: Path, manifest: dict[str, Any]) -> str:
        """Store the files of a local folder under a name, with a manifest; returns the manifest's SHA-256.

        Safe to repeat: a folder that is there with a valid manifest stays as it is.
        """
        if (present := self.digest(folder)) is not None:
            return present
        listed = {path.name: sha256(path) for path in sorted(files.iterdir()) if path.name != MANIFEST}
        text = json.dumps({**manifest, "files": listed}, indent=1, sort_keys=True)
        (files / MANIFEST).write_text(text, "utf-8")
        if self._local:
            self._put_local(folder, files)
        else:
            self._put_remote(folder, files)
        return hashlib.sha256(text.encode()).hexdigest()

    def get(self, folder: str, manifest_sha256: str | None = None) -> tuple[Path, dict[str, Any]]:
        """A local path to a folder whose every file matches its digest, and its manifest.

        Raises:
            ArtifactError: it is missing, or a digest differs; says which file.
        """
        try:
            local = self.root / folder if self._local else self._fetch(folder)
            text = (local / MANIFEST).read_bytes()
        except OSError as error:
            raise ArtifactError(f"{folder} has no manifest in the artifact store ({type(error).__name__}).") from None
        if manifest_sha256 is not None and hashlib.sha256(text).hexdigest() != manifest_sha256:
            raise ArtifactError(f"The manifest of {folder} is not the one that was announced.")
        try:
            manifest: dict[str, Any] = json.loads(text)
            listed = dict(manifest["files"])
        except (ValueError, KeyError, TypeError):
            raise ArtifactError(f"The manifest of {folder} is torn; restore it.") from None
        for name, digest in listed.items():
            if PurePosixPath(name).name != name:
                raise ArtifactError(f"The manifest of {folder} lists a file outside of it.")
            if not (local / name).is_file() or sha256(local / name) != digest:
                raise ArtifactError(f"{folder}/{name} is missing or differs from its manifest; restore it.")
        return local, manifest

    def digest(self, folder: str) -> str | None:
        """The SHA-256 of a folder's manifest, or None when there is none."""
        path = f"{self.root}/{folder}/{MANIFEST}"
        return hashlib.sha256(self._files.cat_file(path)).hexdigest() if self._files.exists(path) else None

    def _put_local(self, folder: str, files: Path) -> None:
        target = self.root / folder
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=".tmp-", dir=target.parent))
        for path in files.iterdir():
            shutil.copyfile(path, staged / path.name)
            sync(staged / path.name)
        sync(staged)
        try:
            staged.rename(target)
        except OSError:
            shutil.rmtree(staged)  # another process stored the same content first
            if not (target / MANIFEST).exists():
                raise
        sync(target.parent)

    def _put_remote(self, folder: str, files: Path) -> None:
        names = sorted((path.name for path in files.iterdir()), key=lambda name: name == MANIFEST)
        for name in names:  # the manifest last: without it the folder does not exist for a reader
            self._files.put_file(str(files / name), f"{self.root}/{folder}/{name}")

    def _fetch(self, folder: str) -> Path:
        local = self._cache / folder
        if not (local / MANIFEST).exists():
            local.parent.mkdir(parents=True, exist_ok=True)
            staged = Path(tempfile.mkdtemp(prefix=".tmp-", dir=local.parent))
            self._files.get(f"{self.root}/{folder}/", f"{staged}/", recursive=True)
            staged.rename(local)
        return local


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
