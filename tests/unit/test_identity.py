"""Keys open what their scopes say and nothing else; users are known by pseudonyms alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from shared import identity
from shared.errors import BadInputError, ConfigError, ForbiddenError
from shared.identity import Keyring, create_secret, read_secret, user_key


@pytest.fixture
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keyring:
    monkeypatch.setattr(identity, "RELOAD_S", 0.0)
    create_secret(tmp_path / "secret")
    return Keyring(tmp_path / "keys.json", read_secret(tmp_path / "secret"))


def test_a_key_opens_its_scopes(keyring: Keyring) -> None:
    key = keyring.create("shop")
    assert keyring.check(key, "ingest").app == "shop"
    with pytest.raises(ForbiddenError) as refused:
        keyring.check(key, "review")
    assert refused.value.code == "forbidden"


@pytest.mark.parametrize("wrong", [None, "", "lb_", "lb_x_y", "Bearer", "lb_00000000_secret", "ü" * 100])
def test_no_other_key_opens_anything(keyring: Keyring, wrong: str | None) -> None:
    keyring.create("shop")
    with pytest.raises(ForbiddenError) as refused:
        keyring.check(wrong, "ingest")
    assert refused.value.code == "unauthorized"


def test_a_changed_key_is_another_key(keyring: Keyring) -> None:
    key = keyring.create("shop")
    for wrong in (key[:-1], key + "a", key.replace("lb_", "lb-", 1), key[:-1] + ("a" if key[-1] != "a" else "b")):
        with pytest.raises(ForbiddenError):
            keyring.check(wrong, "ingest")


def test_a_revoked_key_opens_nothing(keyring: Keyring) -> None:
    key, other = keyring.create("shop"), keyring.create("shop")
    keyring.revoke(keyring.check(key, "ingest").id)
    with pytest.raises(ForbiddenError):
        keyring.check(key, "ingest")
    assert keyring.check(other, "ingest").app == "shop"
    with pytest.raises(BadInputError, match="No key 'gone'"):
        keyring.revoke("gone")


def test_keys_of_another_process_hold_at_once(keyring: Keyring) -> None:
    key = Keyring(keyring.path, keyring.secret).create("shop", frozenset({"review"}))
    assert keyring.check(key, "review").app == "shop"


def test_the_file_holds_no_key(keyring: Keyring) -> None:
    key = keyring.create("shop")
    assert key.split("_", 2)[2] not in keyring.path.read_text()


def test_an_app_has_a_name(keyring: Keyring) -> None:
    with pytest.raises(BadInputError) as refused:
        keyring.create("My Shop")
    assert (refused.value.code, refused.value.field) == ("invalid_app", "app")


def test_a_broken_keys_file_says_what_to_do(keyring: Keyring) -> None:
    keyring.path.write_text("{")
    with pytest.raises(ConfigError, match="is not a keys file"):
        keyring.list()


def test_the_secret_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "secret"
    create_secret(path)
    secret = read_secret(path)
    create_secret(path)
    assert read_secret(path) == secret
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    path.write_text("short")
    with pytest.raises(ConfigError, match="shorter than 32 bytes"):
        read_secret(path)
    with pytest.raises(ConfigError, match="No secret at"):
        read_secret(tmp_path / "none")


def test_a_user_is_another_one_in_another_app() -> None:
    keys = {user_key(b"s" * 32, "shop", "ada"), user_key(b"s" * 32, "blog", "ada"), user_key(b"t" * 32, "shop", "ada")}
    assert len(keys) == 3
    assert user_key(b"s" * 32, "shop", "ada") in keys
    assert all(len(key) == 32 and int(key, 16) >= 0 for key in keys)
