"""What every service reads of the environment: the database's password comes from a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import make_url

from shared.errors import ConfigError
from shared.settings import Platform, load

URL = "postgresql+psycopg://reader@db.example:5432/learnback?sslmode=require"


def test_the_urls_password_comes_from_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p@ss/w:rd %\n")
    url = make_url(_platform(monkeypatch, URL, tmp_path / "password").database)
    assert (url.username, url.password, url.host, url.port) == ("reader", "p@ss/w:rd %", "db.example", 5432)
    assert (url.database, url.query) == ("learnback", {"sslmode": "require"})


def test_without_a_file_the_url_is_as_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARNBACK_DATABASE_URL", "sqlite:////tmp/a.db")
    assert load(Platform).database == "sqlite:////tmp/a.db"


@pytest.mark.parametrize(
    ("url", "written"),
    [
        (URL, ""),  # an empty file
        (URL, None),  # no file
        ("postgresql+psycopg://reader:secret@db.example/learnback", "word"),
        ("postgresql+psycopg://db.example/learnback", "word"),
    ],
)
def test_what_cannot_be_put_together_is_said_in_one_line_without_the_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, written: str | None
) -> None:
    if written is not None:
        (tmp_path / "password").write_text(written)
    with pytest.raises(ConfigError, match=r"^LEARNBACK_DATABASE_PASSWORD_FILE: ") as raised:
        _ = _platform(monkeypatch, url, tmp_path / "password").database
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)
    assert "word." not in str(raised.value).replace("password.", "")


def _platform(monkeypatch: pytest.MonkeyPatch, url: str, file: Path) -> Platform:
    monkeypatch.setenv("LEARNBACK_DATABASE_URL", url)
    monkeypatch.setenv("LEARNBACK_DATABASE_PASSWORD_FILE", str(file))
    return load(Platform)
