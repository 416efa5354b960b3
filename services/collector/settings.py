"""The collector's own settings."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class CollectorSettings(BaseSettings):
    """Where it listens, how long it waits for Kafka, and what it does then."""

    model_config = SettingsConfigDict(env_prefix="LEARNBACK_COLLECTOR_", frozen=True, hide_input_in_errors=True)

    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 inside a container.")
    port: int = Field(default=8710, ge=1, le=65535, description="Port to listen on.")
    ack_timeout_s: float = Field(
        default=2.0, gt=0, le=60, description="How long events wait for the broker's ack before they go to the spool."
    )
    spool_file: Path = Field(
        default=Path(".learnback/spool.db"), description="Where events wait while Kafka is away; on a disk that stays."
    )
    spool_bytes: int = Field(
        default=256 * 1024 * 1024, ge=1024 * 1024, description="Size of the spool: 256 MiB hold about 300,000 events."
    )
    rate: float = Field(
        default=100_000, ge=0, description="Events a second that one key may send, with bursts of 10 s; 0: no limit."
    )
    browser_rate: float = Field(default=1_000, ge=0, description="The same for a publishable key.")
