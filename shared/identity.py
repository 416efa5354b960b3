"""Who speaks: API keys of apps and reviewers, and pseudonyms of users.

A key is `lb_<id>_<secret>`. The file holds an HMAC of each key, never the key. A user is known by `user_key`, an HMAC
of the id that the app gave, so that one user's feedback can be weighed and erased without storing who it is.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import tempfile
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from schemas.events import Name
from shared.errors import BadInputError, ConfigError, ForbiddenError

Scope = Literal["ingest", "review"]
Web = Annotated[str, StringConstraints(pattern=r"^https?://[a-z0-9.-]{1,253}(:[0-9]{1,5})?$")]
RELOAD_S = 1.0  # a new or revoked key holds after this long; one stat a second costs nothing


class ApiKey(BaseModel):
    """One key as it is stored."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    id: str
    app: Name
    scopes: frozenset[Scope]
    hmac: str
    origins: tuple[Web, ...] = ()  # of the pages that may show it to everybody: a publishable key


def read_secret(path: Path) -> bytes:
    """The installation's secret.

    Raises:
        ConfigError: the file is missing or shorter than 32 bytes.
    """
    try:
        secret = path.read_bytes().strip()
    except FileNotFoundError:
        raise ConfigError(f"No secret at {path}. Make one with: learnback keys secret") from None
    except OSError as error:
        raise ConfigError(
            f"The secret at {path} cannot be read ({error.strerror}). Give this user the right."
        ) from None
    if len(secret) < 32:
        raise ConfigError(f"The secret at {path} is shorter than 32 bytes. Make one with: learnback keys secret")
    return secret


def create_secret(path: Path) -> None:
    """Write a new random secret, readable by its owner alone, unless one is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32))


def user_key(secret: bytes, app: str, user: str) -> str:
    """The pseudonym of an app's user: 32 hex digits."""
    return _hmac(secret, f"user\x1f{app}\x1f{user}")[:32]


def _seal(secret: bytes, key: str) -> str:
    return _hmac(secret, f"key\x1f{key}")


@lru_cache(maxsize=8)
def _keyed(secret: bytes) -> hmac.HMAC:
    return hmac.new(secret, digestmod="sha256")


def _hmac(secret: bytes, text: str) -> str:
    """HMAC-SHA-256 in hex. Not `hmac.digest`, which lets go of the GIL: under load it takes 20 µs to come back."""
    keyed = _keyed(secret).copy()
    keyed.update(text.encode())
    return keyed.hexdigest()


@dataclass
class Keyring:
    """The keys file, read again when it changes."""

    path: Path
    secret: bytes
    _keys: dict[str, ApiKey] = field(default_factory=dict)
    _origins: frozenset[str] = frozenset()
    _stamp: tuple[int, int] = (0, 0)
    _looked: float = 0.0

    def create(self, app: str, scopes: frozenset[Scope] = frozenset({"ingest"}), origins: tuple[str, ...] = ()) -> str:
        """Make a key for an app and return it; it cannot be shown again. With origins it is a publishable one.

        Raises:
            BadInputError: the app's name is not a name, or an origin is none.
        """
        key_id, secret = secrets.token_hex(4), secrets.token_urlsafe(32).replace("_", "-")
        key = f"lb_{key_id}_{secret}"
        try:
            made = ApiKey(id=key_id, app=app, scopes=scopes, hmac=_seal(self.secret, key), origins=origins)
        except ValidationError as error:
            if error.errors()[0]["loc"][0] == "origins":
                raise BadInputError(
                    "invalid_origin", "An origin is as the browser tells it, such as https://shop.example.", "origin"
                ) from None
            raise BadInputError(
                "invalid_app", "An app's name is lower-case letters, digits, '.', '_' and '-', at most 64.", "app"
            ) from None
        self._write({**self._read(), key_id: made})
        return key

    def revoke(self, key_id: str) -> None:
        """Take a key back.

        Raises:
            BadInputError: there is no such key.
        """
        keys = self._read()
        if keys.pop(key_id, None) is None:
            raise BadInputError("unknown_key", f"No key '{key_id}' in {self.path}.", "id")
        self._write(keys)

    def list(self) -> list[ApiKey]:
        """All keys, by app."""
        return sorted(self._read().values(), key=lambda key: (key.app, key.id))

    @property
    def origins(self) -> frozenset[str]:
        """Of all publishable keys."""
        self._refresh()
        return self._origins

    def check(self, key: str | None, *scopes: Scope) -> ApiKey:
        """The stored key that this one is.

        Raises:
            ForbiddenError: `unauthorized` for a missing, unknown or revoked key alike, `forbidden` without one of the
                scopes.
        """
        self._refresh()
        parts = (key or "").split("_", 2)
        stored = self._keys.get(parts[1]) if len(parts) == 3 else None
        sealed = _seal(self.secret, key or "")
        if not hmac.compare_digest(sealed, stored.hmac if stored else "") or stored is None:
            raise ForbiddenError("unauthorized", "Send a valid API key: 'Authorization: Bearer lb_…'.", "authorization")
        if stored.scopes.isdisjoint(scopes):
            raise ForbiddenError("forbidden", f"This key lacks the scope '{scopes[0]}'.", "authorization")
        return stored

    def checked(self) -> Keyring:
        """Give this keyring with its file looked at: a service begins with keys that can be read.

        Raises:
            ConfigError: the file is there and is none of keys, or may not be read.
        """
        self._refresh()
        return self

    def _refresh(self) -> None:
        if time.monotonic() - self._looked < RELOAD_S:
            return
        self._looked = time.monotonic()
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            self._keys, self._origins, self._stamp = {}, frozenset(), (0, 0)
            return
        if (stamp := (stat.st_mtime_ns, stat.st_ino)) != self._stamp:
            self._keys, self._stamp = self._read(), stamp
            self._origins = frozenset(origin for key in self._keys.values() for origin in key.origins)

    def _read(self) -> dict[str, ApiKey]:
        try:
            return TypeAdapter(dict[str, ApiKey]).validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be read ({error.strerror}). Give this user the right.") from None
        except ValidationError:
            raise ConfigError(f"{self.path} is not a keys file. Restore it, or remove it and make new keys.") from None

    def _write(self, keys: dict[str, ApiKey]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.path.parent)
        with os.fdopen(handle, "w") as file:
            json.dump({key_id: key.model_dump(mode="json") for key_id, key in keys.items()}, file, indent=1)
        os.replace(name, self.path)
