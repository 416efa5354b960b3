"""The evaluator's own settings."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class EvaluatorSettings(BaseSettings):
    """Read from `LEARNBACK_EVALUATOR_…`."""

    model_config = SettingsConfigDict(env_prefix="LEARNBACK_EVALUATOR_", frozen=True)

    host: str = Field(default="127.0.0.1", description="Address of the probes.")
    port: int = Field(default=8714, description="Port of the probes.")
    threads: int = Field(default=0, ge=0, description="Cores to score on; 0 means all.")
