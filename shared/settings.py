"""Where this installation keeps things: settings that every service shares, read from `LEARNBACK_…` variables.

A service's own settings live in its `settings.py` with the prefix `LEARNBACK_<SERVICE>_`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlsplit

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import ConfigError


class Platform(BaseSettings):
    """Kafka, SQL, artifacts, policy and secrets of one installation."""

    model_config = SettingsConfigDict(env_prefix="LEARNBACK_", frozen=True, hide_input_in_errors=True)

    kafka_bootstrap_servers: str = Field(default="127.0.0.1:8790", description="host:port, comma separated.")
    topic_prefix: str = Field(default="learnback", description="First part of every topic and group name.")
    topic_replication: int = Field(default=1, ge=1, description="Copies of each topic; 3 on a cluster.")
    database_url: str = Field(default="sqlite:///.learnback/learnback.db", description="SQLAlchemy URL.")
    database_password_file: Path | None = Field(
        default=None, description="Holds the password that the URL, which names a user, then leaves out."
    )
    artifacts_url: str = Field(default="file://.learnback/artifacts", description="fsspec URL of the artifact store.")
    policy_file: Path = Field(default=Path("learnback.toml"), description="What the loop may do, per model.")
    instance: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="A name of this replica that survives a restart: it gets its partitions back at once.",
    )
    secret_file: Path = Field(default=Path(".learnback/secret"), description="Key of all HMACs; mode 0600.")
    keys_file: Path = Field(default=Path(".learnback/keys.json"), description="API keys, hashed.")

    @property
    def database(self) -> str:
        """The database's whole URL, with the password of the file if one is named.

        Raises:
            ConfigError: the file cannot be read or is empty, or the URL names no user or a password of its own.
        """
        if self.database_password_file is None:
            return self.database_url
        try:
            password = self.database_password_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"LEARNBACK_DATABASE_PASSWORD_FILE: {self.database_password_file} cannot be read"
                f" ({type(error).__name__}). Name a file with the password alone."
            ) from None
        parts = urlsplit(self.database_url)
        user, at, place = parts.netloc.rpartition("@")
        if not password or not at or ":" in user:
            raise ConfigError(
                "LEARNBACK_DATABASE_PASSWORD_FILE: the file must hold a password, and LEARNBACK_DATABASE_URL name a"
                " user without one, as postgresql+psycopg://user@host:5432/database."
            )
        return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{place}").geturl()


SettingsType = TypeVar("SettingsType", bound=BaseSettings)


def load(settings: type[SettingsType]) -> SettingsType:
    """Read settings from the environment.

    Raises:
        ConfigError: names each variable that is wrong, and why.
    """
    try:
        return settings()
    except ValidationError as error:
        prefix = settings.model_config.get("env_prefix", "")
        problems = "; ".join(
            f"{prefix}{'_'.join(str(part) for part in item['loc'])}".upper() + f": {item['msg']}"
            for item in error.errors()
        )
        raise ConfigError(f"Settings are wrong: {problems}. Set these variables and start again.") from None
