"""A remote artifact store: any that fsspec reaches by a URL, as s3://bucket/path.

A store of objects renames nothing. So each file lies under its own SHA-256, and the manifest, written last, makes the
folder: who uploads the same folder at the same time or anew never writes over what another one's manifest names, and
an upload that was torn is no folder. Nothing is listed to find a folder: a listing may be old.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import fsspec

from shared.errors import UnavailableError
from shared.manifest import MANIFEST


class Remote:
    """Folders of files in a store of objects, each under `root/<folder>/`."""

    def __init__(self, url: str) -> None:
        """Open the store; nothing is sent yet."""
        self._url = url

    @property
    def _files(self) -> fsspec.AbstractFileSystem:
        """The file system. fsspec keeps one for each process; one made before a fork would not work after it."""
        return fsspec.core.url_to_fs(self._url, use_listings_cache=False)[0]

    @property
    def _root(self) -> str:
        return str(fsspec.core.url_to_fs(self._url, use_listings_cache=False)[1]).rstrip("/")

    def manifest(self, folder: str) -> bytes | None:
        """The bytes of a folder's manifest; None when there is no such folder.

        Raises:
            UnavailableError: the store is away, or does not let us in.
        """
        with self._reached(folder):
            try:
                content: bytes = self._files.cat_file(f"{self._root}/{folder}/{MANIFEST}")
            except FileNotFoundError:
                return None
        return content

    def check(self) -> None:
        """Write a probe and take it away again.

        Raises:
            UnavailableError: the store is away, or does not let us.
        """
        probe = f"{self._root}/.probe-{uuid.uuid4().hex}"
        with self._reached("a probe"):
            self._files.pipe_file(probe, b"probe")
            self._files.rm_file(probe)

    def put(self, folder: str, files: Path, digests: Mapping[str, str]) -> None:
        """Upload a local folder's files, of these digests, and its manifest when they are all there.

        Raises:
            UnavailableError: the store is away, or does not let us in: there is no such folder then.
        """
        with self._reached(folder):
            for name, digest in digests.items():
                self._files.put_file(str(files / name), f"{self._root}/{folder}/{digest}/{name}")
            self._files.put_file(str(files / MANIFEST), f"{self._root}/{folder}/{MANIFEST}")

    def fetch(self, folder: str, digests: Mapping[str, str], into: Path) -> None:
        """Download the files of a manifest into a local folder; one that is not there is left out.

        Raises:
            UnavailableError: the store is away, or does not let us in.
        """
        with self._reached(folder):
            for name, digest in digests.items():
                try:
                    self._files.get_file(f"{self._root}/{folder}/{digest}/{name}", str(into / name))
                except FileNotFoundError:
                    (into / name).unlink(missing_ok=True)

    def folders(self) -> list[str]:
        """Every folder `<kind>/<name>` that has a manifest.

        Raises:
            UnavailableError: the store is away, or does not let us in.
        """
        with self._reached("its list of folders"):
            found = self._files.glob(f"{self._root}/*/*/{MANIFEST}")
            return sorted(path.rsplit(f"{self._root}/", 1)[-1].removesuffix(f"/{MANIFEST}") for path in found)

    def remove(self, folder: str) -> None:
        """Remove a folder: the manifest first, so that what is left of a torn removal is no folder.

        Raises:
            UnavailableError: the store is away, or does not let us in.
        """
        with self._reached(folder):
            self._files.rm_file(f"{self._root}/{folder}/{MANIFEST}")
            self._files.rm(f"{self._root}/{folder}", recursive=True)

    @contextmanager
    def _reached(self, what: str) -> Iterator[None]:
        """Each store's library has errors of its own for what is all the same to us: it could not be done now."""
        try:
            yield
        except Exception as error:
            raise UnavailableError(
                f"The artifact store does not answer for {what} ({type(error).__name__}). Is it running at"
                " LEARNBACK_ARTIFACTS_URL, and do its keys and the bucket fit?"
            ) from error


@contextmanager
def staging(beside: Path) -> Iterator[Path]:
    """A new folder on the same disk as another one, gone at the end unless it was renamed."""
    beside.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".tmp-", dir=beside.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
