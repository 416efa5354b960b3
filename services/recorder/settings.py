"""Settings of the recorder."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class RecorderSettings(BaseSettings):
    """How this recorder runs: `LEARNBACK_RECORDER_…`."""

    model_config = SettingsConfigDict(env_prefix="LEARNBACK_RECORDER_", frozen=True)

    host: str = Field(default="127.0.0.1", description="Address of the probes.")
    port: int = Field(default=8711, ge=1, le=65535, description="Port of the probes.")
    batch_size: int | None = Field(
        default=None, ge=1, le=10_000, description="Records of one transaction at most; 5,000 on SQLite, else 10,000."
    )
    poll_ms: int = Field(default=100, ge=1, description="How long a batch is gathered at most.")
