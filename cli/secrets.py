"""`learnback secrets`: what an installation on Kubernetes knows and nobody else may, kept in one folder of files."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import click

from shared.errors import BadInputError
from shared.identity import Keyring, create_secret, read_secret

NAMESPACE = "learnback"
IDENTITY = ("learnback_secret", "keys.json", "board.key")
STORE = "s3_credentials"
ROLES = ("recorder", "reader")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def secrets(folder: Path) -> None:
    """Print FOLDER as Kubernetes Secrets, for `kubectl apply -f -`, after making what is missing there.

    FOLDER must hold s3_credentials, the object store's keys as AWS's tools write them. Keep it, and let nobody read it:
    without the secret no API key is valid, and no user is recognised.
    """
    _complete(folder)
    click.echo(json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests(folder)}, indent=1))


def manifests(folder: Path) -> list[dict[str, Any]]:
    """The Secrets that the manifests of `k8s/` name, with what is in the folder's files."""
    roles = [
        _secret(
            f"learnback-database-{role}",
            {"username": f"learnback_{role}".encode(), "password": _read(folder / f"{role}_password").strip()},
            "kubernetes.io/basic-auth",
        )
        for role in ROLES
    ]
    identity = {name: _read(folder / name) for name in IDENTITY}
    return [
        _secret("learnback-identity", identity),
        _secret("learnback-store", {STORE: _read(folder / STORE)}),
        *roles,
    ]


def _complete(folder: Path) -> None:
    if not (folder / STORE).exists():
        raise BadInputError(
            "no_store",
            f"No {folder / STORE}. Write the object store's keys there: [default], then aws_access_key_id = … and"
            " aws_secret_access_key = …, a line each.",
        )
    create_secret(folder / "learnback_secret")
    for role in ROLES:
        create_secret(folder / f"{role}_password")
    key_file = folder / "board.key"
    if not key_file.exists():
        keyring = Keyring(folder / "keys.json", read_secret(folder / "learnback_secret"))
        handle = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(keyring.create("board", frozenset({"review"})))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(
            "no_secret", f"{path} cannot be read ({error.strerror}). Restore it from a backup."
        ) from None


def _secret(name: str, files: dict[str, bytes], kind: str = "Opaque") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/part-of": "learnback"}},
        "type": kind,
        "data": {file: base64.b64encode(content).decode() for file, content in files.items()},
    }
