"""`learnback secrets` makes what an installation on Kubernetes needs once, and prints the same ever after."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.secrets import secrets
from shared.errors import BadInputError
from shared.identity import Keyring, read_secret


def printed(folder: Path) -> dict[str, dict[str, str]]:
    """The Secrets by name, with their files."""
    output = CliRunner().invoke(secrets, [str(folder)], catch_exceptions=False).output
    return {
        one["metadata"]["name"]: {key: base64.b64decode(value).decode() for key, value in one["data"].items()}
        for one in json.loads(output)["items"]
    }


def test_without_the_stores_keys_it_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"s3_credentials\. Write the object store's keys there"):
        CliRunner().invoke(secrets, [str(tmp_path / "new")], catch_exceptions=False)
    assert not (tmp_path / "new").exists()


def test_what_is_made_once_stays_and_nobody_else_reads_it(tmp_path: Path) -> None:
    (tmp_path / "s3_credentials").write_text("[default]\n", "utf-8")
    first = printed(tmp_path)
    assert printed(tmp_path) == first
    made = [path for path in tmp_path.iterdir() if path.name != "s3_credentials"]
    assert {path.stat().st_mode & 0o777 for path in made} == {0o600}
    assert first["learnback-database-recorder"]["username"] == "learnback_recorder"
    passwords = {first[f"learnback-database-{role}"]["password"] for role in ("recorder", "reader")}
    assert len(passwords) == 2
    assert all(len(password) >= 32 for password in passwords)


def test_the_boards_key_is_one_that_the_services_take(tmp_path: Path) -> None:
    (tmp_path / "s3_credentials").write_text("[default]\n", "utf-8")
    identity = printed(tmp_path)["learnback-identity"]
    for name in ("learnback_secret", "keys.json"):
        (tmp_path / "mounted").mkdir(exist_ok=True)
        (tmp_path / "mounted" / name).write_text(identity[name], "utf-8")
    keyring = Keyring(tmp_path / "mounted" / "keys.json", read_secret(tmp_path / "mounted" / "learnback_secret"))
    assert keyring.check(identity["board.key"], "review").app == "board"


def test_a_lost_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "s3_credentials").write_text("[default]\n", "utf-8")
    printed(tmp_path)
    (tmp_path / "keys.json").unlink()
    with pytest.raises(BadInputError, match=r"keys\.json cannot be read .* Restore it"):
        CliRunner().invoke(secrets, [str(tmp_path)], catch_exceptions=False)
