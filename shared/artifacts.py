"""The artifact store: immutable folders named by what they were made from, each with a manifest of digests.

A folder is written under a temporary name, its manifest last, and then renamed: a reader finds all of it or nothing
(`shared.remote` tells how a store that cannot rename does it). safetensors carries no checksum (a flipped bit loads
without a word), so every file is checked against the manifest's SHA-256 before use, and the manifest against the digest
in the event that announced it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shared.cache import cache_folder
from shared.errors import ArtifactError, UnavailableError
from shared.manifest import MANIFEST, checked, read_manifest, sha256, sync
from shared.remote import Remote, staging
from shared.volume import check_volume


class ArtifactStore:
    """Folders of files at an fsspec URL, with a local cache when the URL is not a local folder."""

    def __init__(self, url: str, cache: Path | None = None) -> None:
        """Open the store; a `file://` URL may be relative."""
        parts = urlsplit(url)
        self._remote = None if parts.scheme in ("", "file") else Remote(url)
        store = hashlib.sha256(url.encode()).hexdigest()[:12]
        self.root = (
            Path(parts.netloc + parts.path) if self._remote is None else (cache or cache_folder() / "artifacts") / store
        )

    def check(self, writes: bool = False) -> None:
        """See that the store answers; with `writes`, that it also takes something.

        Raises:
            UnavailableError: it is away, or does not let us do that.
        """
        self._manifest("versions/none")
        if writes and self._remote is not None:
            self._remote.check()
        elif writes:
            check_volume(self.root, "LEARNBACK_ARTIFACTS_URL")

    def put(self, folder: str, files: Path, manifest: dict[str, Any]) -> str:
        """Store the files of a local folder under a name, with a manifest; returns the manifest's SHA-256.

        Safe to repeat: a folder that is there with a manifest stays as it is.

        Raises:
            UnavailableError: the store is away; nothing was stored.
        """
        if (present := self.digest(folder)) is not None:
            return present
        listed = {path.name: sha256(path) for path in sorted(files.iterdir()) if path.name != MANIFEST}
        (files / MANIFEST).write_text(json.dumps({**manifest, "files": listed}, indent=1, sort_keys=True), "utf-8")
        self._store(folder, files, listed)
        return str(self.digest(folder))  # of who was first, if somebody stored the same folder at the same time

    def copy(self, folder: str, files: Path) -> None:
        """Store a folder of another store as it is, with the manifest that lies among its files.

        Raises:
            ArtifactError: a file differs from the manifest.
            UnavailableError: the store is away; nothing was stored.
        """
        self._store(folder, files, checked(folder, files, (files / MANIFEST).read_bytes())["files"])

    def get(self, folder: str, manifest_sha256: str | None = None) -> tuple[Path, dict[str, Any]]:
        """A local path to a folder whose every file matches its digest, and its manifest.

        Raises:
            ArtifactError: it is missing, or a digest differs; says which file.
            UnavailableError: the store is away; nothing is known of the folder.
        """
        if self._remote is not None:
            return self._cached(folder, manifest_sha256)
        text = self._manifest(folder)
        return self.root / folder, checked(folder, self.root / folder, text, manifest_sha256)

    def digest(self, folder: str) -> str | None:
        """The SHA-256 of a folder's manifest, or None when there is none.

        Raises:
            UnavailableError: the store is away.
        """
        text = self._manifest(folder)
        return None if text is None else hashlib.sha256(text).hexdigest()

    def folders(self) -> list[str]:
        """Every folder of the store, as `versions/<id>`.

        Raises:
            UnavailableError: the store is away.
        """
        if self._remote is not None:
            return self._remote.folders()
        found = (path.parent.relative_to(self.root) for path in self.root.glob(f"*/*/{MANIFEST}"))
        return sorted(str(path) for path in found if not path.name.startswith("."))

    def remove(self, folder: str) -> None:
        """Remove a folder that nobody needs any more.

        Raises:
            UnavailableError: the store is away.
        """
        if self._remote is not None:
            self._remote.remove(folder)
        elif (self.root / folder).exists():
            with staging(self.root / folder) as away:
                (self.root / folder).rename(away / "removed")
        shutil.rmtree(self.root / folder, ignore_errors=True)

    def _manifest(self, folder: str) -> bytes | None:
        if self._remote is not None:
            return self._remote.manifest(folder)
        try:
            return (self.root / folder / MANIFEST).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _refused(folder, error) from None

    def _store(self, folder: str, files: Path, listed: dict[str, str]) -> None:
        if self._remote is not None:
            self._remote.put(folder, files, listed)
            return
        try:
            self._put_local(folder, files)
        except OSError as error:
            raise _refused(folder, error) from None

    def _put_local(self, folder: str, files: Path) -> None:
        target = self.root / folder
        with staging(target) as staged:
            for path in files.iterdir():
                shutil.copyfile(path, staged / path.name)
                sync(staged / path.name)
            sync(staged)
            try:
                staged.rename(target)
            except OSError:
                if not (target / MANIFEST).exists():  # else another process stored the same content first
                    raise
        sync(target.parent)

    def _cached(self, folder: str, manifest_sha256: str | None) -> tuple[Path, dict[str, Any]]:
        """A remote folder's copy on this machine, downloaded unless a whole one of that digest is here."""
        local = self.root / folder
        if manifest_sha256 is not None and (local / MANIFEST).exists():
            try:
                return local, checked(folder, local, (local / MANIFEST).read_bytes(), manifest_sha256)
            except (ArtifactError, OSError):
                pass  # a copy that was torn, or is of other files: the store has the truth
        assert self._remote is not None
        text = self._remote.manifest(folder)
        listed = read_manifest(folder, text, manifest_sha256)["files"]
        try:
            return local, self._brought(folder, text, listed, manifest_sha256)
        except OSError as error:
            raise UnavailableError(
                f"The cache of artifacts at {self.root} refuses {folder} ({error.strerror}). Give this user the right"
                " and the volume room, or set XDG_CACHE_HOME."
            ) from None

    def _brought(
        self, folder: str, text: bytes | None, listed: dict[str, str], manifest_sha256: str | None
    ) -> dict[str, Any]:
        """Download a folder's files, check them, and put them in the place of what is in the cache."""
        assert self._remote is not None
        local = self.root / folder
        with staging(local) as staged:
            self._remote.fetch(folder, listed, staged)
            (staged / MANIFEST).write_bytes(text or b"")
            manifest = checked(folder, staged, text, manifest_sha256)
            shutil.rmtree(local, ignore_errors=True)
            try:
                staged.rename(local)
            except OSError:  # another process has just brought it
                checked(folder, local, text, manifest_sha256)
        return manifest


def _refused(folder: str, error: OSError) -> UnavailableError:
    return UnavailableError(f"The artifact store's disk refuses {folder} ({error.strerror}). Is it full, or not ours?")
