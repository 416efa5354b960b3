"""Whether a folder can be written to."""

from __future__ import annotations

import os
from pathlib import Path

from shared.errors import UnavailableError

FREE_BYTES = 16 * 1024 * 1024  # less than this on a volume, and the next thing that is written does not fit


def check_volume(folder: Path, variable: str) -> None:
    """See that a folder can be written to; make it when it is missing.

    Raises:
        UnavailableError: it cannot, or its volume is full; names the variable that says where it is.
    """
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"\0")
        free = os.statvfs(folder)
    except OSError as error:
        raise UnavailableError(
            f"Cannot write to {folder} ({error.strerror}). Give this user the right and the volume room, or set"
            f" {variable}."
        ) from None
    finally:
        _remove(probe)
    if free.f_bavail * free.f_frsize < FREE_BYTES:
        raise UnavailableError(
            f"The volume of {folder} has less than {FREE_BYTES // 1024**2} MB left. Make room, or set {variable}."
        )


def _remove(probe: Path) -> None:
    try:
        probe.unlink(missing_ok=True)
    except OSError:
        return  # what could not be written is not there
