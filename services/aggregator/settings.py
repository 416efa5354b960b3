"""Settings of the aggregator, read from `LEARNBACK_AGGREGATOR_…` variables."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class AggregatorSettings(BaseSettings):
    """Where the aggregator answers probes, and how much it keeps."""

    model_config = SettingsConfigDict(env_prefix="LEARNBACK_AGGREGATOR_", frozen=True, hide_input_in_errors=True)

    host: str = Field(default="127.0.0.1", description="Address of /livez, /readyz and /metrics.")
    port: int = Field(default=8712, ge=1, le=65535, description="Their port.")
    data_dir: Path = Field(default=Path(".learnback/aggregator"), description="Faust's working folder; may be lost.")
    join_entries: int = Field(
        default=200_000,
        ge=6,
        description="Predictions that wait for feedback at once, over all partitions: about 0.6 kB of memory each.",
    )
