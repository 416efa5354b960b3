"""The collector's own settings."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class CollectorSettings(BaseSettings):
    """Where it listens and how long it waits for Kafka."""

    model_config = SettingsConfigDict(env_prefix="LEARNBACK_COLLECTOR_", frozen=True, hide_input_in_errors=True)

    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 inside a container.")
    port: int = Field(default=8710, ge=1, le=65535, description="Port to listen on.")
    ack_timeout_s: float = Field(
        default=2.0, gt=0, le=60, description="How long a request waits for the broker's ack before it gets a 503."
    )
